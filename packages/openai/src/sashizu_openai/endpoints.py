"""Where models are served: the tables `[models.NAME]`, and `openai` from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.limits import parse_duration
from sashizu_core.settings import Settings, Table
from sashizu_core.types import Price

__all__ = ["OPENAI", "Endpoint", "EndpointTable", "Patience", "read_endpoints"]

OPENAI = "openai"
"""The endpoint that exists without any settings."""

OPENAI_URL = "https://api.openai.com/v1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

Api = Literal["responses", "chat"]
CapName = Literal["max_output_tokens", "max_completion_tokens", "max_tokens"]


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(f"{text!r} is no base URL; write it as 'https://host/v1'")
    if parts.username or parts.password:
        raise ValueError("a base URL holds no password: name the variable with the key in key_env")
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


class LocalTable(Table):
    """`local`: the server is the user's own and costs nothing.

    `slots` is how many calls it works on at once; more than that wait here, so that the time in its
    queue does not count as silence.
    """

    slots: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None


class EndpointTable(Table):
    """The table `[models.NAME]`."""

    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
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
    local: Annotated[bool, Field(strict=True)] | LocalTable = False
    connect_timeout: Seconds = 10.0
    first_event_timeout: Seconds = 120.0
    idle_timeout: Seconds = 90.0
    reasoning_timeout: Seconds = 600.0


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
    local: bool = False
    slots: int | None = None
    patience: Patience = Patience()

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
        return _base_url(env.get("OPENAI_BASE_URL") or OPENAI_URL)
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
        text = value
        if value.startswith("$"):
            text = env.get(value[1:], "")
            if not text:
                problems.append(
                    f"[models.{name}] headers.{header}: "
                    f"the environment variable {value[1:]} is not set"
                )
        if not (_HEADER.fullmatch(header) and _fits_a_header(text)):
            raise ConfigError(f"[models.{name}] headers.{header}: no header can carry this")
        found.append((header, text))
    return found


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable()
