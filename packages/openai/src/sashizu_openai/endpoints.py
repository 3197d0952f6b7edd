"""Where models are served: `openai` from the environment, and the tables `[models.NAME]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sashizu_core.errors import ConfigError
from sashizu_core.local_models import LocalTable
from sashizu_core.settings import Settings
from sashizu_core.types import Price

from sashizu_openai.tables import Api, CapName, EndpointTable, checked_url

__all__ = ["OPENAI", "RESERVED_HEADERS", "Endpoint", "Patience", "read_endpoints"]

OPENAI = "openai"
"""The endpoint that exists without any settings."""

OPENAI_URL = "https://api.openai.com/v1"
_SECRET_LENGTH = 8
"""Characters from which on the value of a header is taken for a secret."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


RESERVED_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers, in lower case, that tell where a request ends and who hears it: given twice, or wrong,
one server takes for two requests what another took for one (RFC 9112, section 11.2).
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may be silent, in seconds.

    `connect_s` until the connection stands, `first_event_s` from there to the first content,
    `idle_s` between contents, `reasoning_s` while the model says that it reasons.
    """

    connect_s: float = 10.0
    first_event_s: float = 120.0
    idle_s: float = 90.0
    reasoning_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where models are served, complete. Equal endpoints share connections.

    `key` is "" where none is sent; `problem` says what the environment lacks, "" for nothing.
    """

    name: str
    base_url: str
    api: Api
    output_cap_name: CapName
    model: str | None = None
    key: str = field(default="", repr=False)
    problem: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    price: Price | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    encrypted_reasoning: bool | None = None
    counts: bool = False
    efforts: tuple[str, ...] | None = None
    local: bool = False
    slots: int | None = None
    patience: Patience = Patience()

    @property
    def secrets(self) -> list[str]:
        """What no message may hold, longest first."""
        values = [self.key, *(value for _, value in self.headers if len(value) >= _SECRET_LENGTH)]
        return sorted(filter(None, values), key=len, reverse=True)

    @property
    def official(self) -> bool:
        """Whether this is OpenAI's own service."""
        return _is_official(self.base_url)


def read_endpoints(settings: Settings, env: Mapping[str, str]) -> list[Endpoint]:
    """Every endpoint: `openai` first, then the tables in their order.

    Raises:
        ConfigError: a table is wrong.
    """
    names = [OPENAI, *(name for name in settings.tables.get("models", {}) if name != OPENAI)]
    return [_endpoint(name, settings, env) for name in names]


def _is_official(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _endpoint(name: str, settings: Settings, env: Mapping[str, str]) -> Endpoint:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"[models.{name!r}]: a name is letters, digits, '.', '_' and '-'")
    table = settings.table(("models", name), EndpointTable)
    problems: list[str] = []
    base_url = table.base_url or _default_url(name, env, problems)
    official = _is_official(base_url)
    api = table.api or ("responses" if official else "chat")
    local = table.local if isinstance(table.local, LocalTable) else LocalTable()
    return Endpoint(
        name=name,
        base_url=base_url,
        api=api,
        output_cap_name=table.output_cap_name or _cap_name(api, official=official),
        model=table.model,
        key=_key(name, table, env, problems),
        headers=tuple(_headers(name, table.headers, env, problems)),
        price=table.price.price() if table.price else None,
        context_window=table.context_window,
        max_output_tokens=table.max_output_tokens,
        encrypted_reasoning=table.encrypted_reasoning,
        counts=official and api == "responses" if table.count is None else table.count,
        efforts=table.efforts,
        local=table.local is not False,
        slots=local.slots,
        patience=Patience(
            table.connect_timeout,
            table.first_event_timeout,
            table.idle_timeout,
            table.reasoning_timeout,
        ),
        problem="; ".join(problems),
    )


def _default_url(name: str, env: Mapping[str, str], problems: list[str]) -> str:
    if name != OPENAI:
        raise ConfigError(f"[models.{name}] has no base_url: add base_url = 'https://host/v1'")
    try:
        return checked_url(env.get("OPENAI_BASE_URL") or OPENAI_URL)
    except ValueError as error:
        problems.append(f"OPENAI_BASE_URL: {error}")
        return OPENAI_URL


def _cap_name(api: Api, *, official: bool) -> CapName:
    if api == "responses":
        return "max_output_tokens"
    return "max_completion_tokens" if official else "max_tokens"


def _key(name: str, table: EndpointTable, env: Mapping[str, str], problems: list[str]) -> str:
    variable = table.key_env or ("OPENAI_API_KEY" if name == OPENAI else None)
    if variable is None:
        return ""
    key = env.get(variable, "").strip()
    if not key:
        problems.append(
            f"the models of {name!r} need a key: set the environment variable {variable}"
        )
    elif not _fits_a_header(key):
        problems.append(f"the key in {variable} holds a character that no header can carry")
    return key


def _headers(
    name: str, headers: Mapping[str, str], env: Mapping[str, str], problems: list[str]
) -> list[tuple[str, str]]:
    """Headers as they are sent; `$NAME` as the whole value is read from the environment."""
    found = []
    for header, value in sorted(headers.items()):
        text = env.get(value[1:], "") if value.startswith("$") else value
        where = f"[models.{name}] headers.{header}"
        if not _HEADER.fullmatch(header):
            raise ConfigError(f"{where}: this is no name of a header")
        if header.lower() in RESERVED_HEADERS:
            raise ConfigError(f"{where}: sashizu sets this header itself; leave it out")
        if not _fits_a_header(text):
            raise ConfigError(f"{where}: the value holds a character that no header can carry")
        if value.startswith("$") and not text:
            problems.append(f"{where}: the environment variable {value[1:]} is not set")
        found.append((header, text))
    return found


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable()
