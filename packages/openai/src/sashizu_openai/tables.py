"""The tables `[models.NAME]` as they are written."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_duration
from sashizu_core.local_models import LocalTable
from sashizu_core.settings import Table
from sashizu_core.types import Price

from sashizu_openai.transport.origin import split_url

__all__ = ["Api", "CapName", "EndpointTable", "checked_url"]

Api = Literal["responses", "chat"]
CapName = Literal["max_output_tokens", "max_completion_tokens", "max_tokens"]


def checked_url(text: str) -> str:
    """A base URL without its last slash.

    Raises:
        ValueError: it is none, or holds what does not belong there.
    """
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("a base URL holds no password: name the variable with the key in key_env")
    try:
        split_url(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no base URL: {error}; write it as 'https://host/v1'"
        ) from error
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r}: a base URL ends with its path, without '?' or '#'")
    return text.rstrip("/")


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a duration such as '90s' or '2m'")  # noqa: TRY004 — for pydantic
    try:
        return parse_duration(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


Seconds = Annotated[float, BeforeValidator(_seconds)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]


class PriceTable(Table):
    """`price`: USD per million tokens; `per_request` in USD per call."""

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    long_context_from: Tokens | None = None
    long_context_input: Usd | None = None
    long_context_output: Usd | None = None
    per_request: Usd = Decimal(0)

    def price(self) -> Price:
        """The same in 10⁻⁹ USD per token, rounded up."""
        return Price(
            input=_nusd(self.input),
            output=_nusd(self.output),
            cache_read=_optional_nusd(self.cache_read),
            cache_write=_optional_nusd(self.cache_write),
            long_context_from=self.long_context_from,
            long_context_input=_optional_nusd(self.long_context_input),
            long_context_output=_optional_nusd(self.long_context_output),
            per_request=_nusd(self.per_request * 1_000_000),
            source="sashizu.toml",
        )


def _nusd(usd_per_million: Decimal) -> int:
    return int((usd_per_million * 1000).to_integral_value(ROUND_CEILING))


def _optional_nusd(usd_per_million: Decimal | None) -> int | None:
    return None if usd_per_million is None else _nusd(usd_per_million)


class EndpointTable(Table):
    """The table `[models.NAME]`."""

    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    api: Api | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    key_env: Annotated[str, Field(min_length=1)] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    price: PriceTable | None = None
    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    output_cap_name: CapName | None = None
    encrypted_reasoning: bool | None = None
    count: bool | None = None
    efforts: tuple[Annotated[str, Field(pattern="^[a-z]{1,16}$")], ...] | None = None
    local: Annotated[bool, Field(strict=True)] | LocalTable = False
    connect_timeout: Seconds = 10.0
    first_event_timeout: Seconds = 120.0
    idle_timeout: Seconds = 90.0
    reasoning_timeout: Seconds = 600.0
