"""The table `[audit.otel]`: where spans of runs are sent as they end."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from sashizu_core.settings import Table

__all__ = ["OtelSettings"]


def _endpoint(text: str) -> str:
    if not _is_endpoint(text):
        raise ValueError(
            "it has to be http://HOST[:PORT][/PATH] or https://…, without a user, a query or a "
            "fragment; what a service wants to know of you goes into headers_env"
        )
    return text


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    more = parts.username is not None or parts.query or parts.fragment
    return bool(named and not more and text.isascii() and text.isprintable() and " " not in text)


class OtelSettings(Table):
    """`[audit.otel]` in sashizu.toml.

    `endpoint` is where spans are sent over OTLP/HTTP; without it none are. `/v1/traces` is added
    where it names no path. `http/protobuf` needs the extra `otel`. `headers_env` names a variable
    of the environment with headers to send, as `name=value,…`. `resource` are attributes of the
    resource. At most `queue` spans wait to be sent; at the end of a run, at most `last_s` seconds
    are waited for. With `content`, spans tell the texts that `content = "blobs"` keeps.
    """

    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    protocol: Literal["http/json", "http/protobuf"] = "http/json"
    headers_env: str = "OTEL_EXPORTER_OTLP_HEADERS"
    resource: dict[str, str] = Field(default_factory=dict)
    queue: int = Field(default=4096, ge=1, le=1_000_000)
    last_s: float = Field(default=5.0, ge=0, le=60)
    content: bool = False
