"""The table `[gateway]` of the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.limits import parse_duration
from sashizu_core.settings import Settings, Table

from sashizu_gateway.dialects.dialect import Provider

__all__ = ["GatewaySettings", "Target", "UpstreamTable", "gateway_settings", "targets"]

_URLS: Mapping[Provider, tuple[str, str, str]] = {
    "openai": ("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
}
"""Where the services are, and the variables that name another place and hold the key."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def checked_url(text: str) -> str:
    """A base URL without its last slash.

    Raises:
        ValueError: it is none, or holds what does not belong there.
    """
    wrong = ValueError(f"{text!r} is no base URL; write it as 'https://host/v1'")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL holds no key, no '?' and no '#': name the key in key_env")
    return text.rstrip("/")


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


Tokens = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Duration = Annotated[str, AfterValidator(_duration)]
Bytes = Annotated[int, Field(strict=True, ge=1024, le=1024**3)]
Patterns = Annotated[tuple[str, ...], Field(min_length=1)]


class UpstreamTable(Table):
    """`[gateway.openai]` and `[gateway.anthropic]`: where requests of these APIs go.

    `key_env` names the variable that holds the key, `headers` are sent with every request (`$NAME`
    is read from the environment). `models` are patterns of what may be asked for. `image_tokens` is
    the most that one image has; without it images are refused. `count` says whether the service
    counts tokens; by default it is asked until it says that it does not. `local` is a service of
    your own, which costs no money.
    """

    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    key_env: Annotated[str, Field(min_length=1)] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    models: Patterns = ("*",)
    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    image_tokens: Tokens | None = None
    count: bool | None = None
    local: Annotated[bool, Field(strict=True)] = False

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the environment that hold what only the service may see."""
        named = [value[1:] for value in self.headers.values() if value.startswith("$")]
        return (*([self.key_env] if self.key_env else []), *named)


class GatewaySettings(Table):
    """The table `[gateway]`.

    `listen` is an address of this machine. `max_output_tokens` is the output cap of requests that
    come without one, `min_output_tokens` the least that is worth a call. `wait` is how long a call
    waits for room in the budget, `idle` how long a service may say nothing; `max_body` is the
    largest request, in bytes. `programs` says where the programs of engines are, by engine.
    """

    listen: Annotated[str, Field(min_length=1)] = "127.0.0.1:8797"
    max_output_tokens: Tokens = 16_384
    min_output_tokens: Tokens = 256
    wait: Duration = "5m"
    idle: Duration = "10m"
    max_body: Bytes = 32 * 1024 * 1024
    agents: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1000
    programs: dict[str, str] = Field(default_factory=dict)
    openai: UpstreamTable = UpstreamTable()
    anthropic: UpstreamTable = UpstreamTable()

    @property
    def wait_s(self) -> float:
        return parse_duration(self.wait)

    @property
    def idle_s(self) -> float:
        return parse_duration(self.idle)


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream, with what the environment says of it.

    `problem` says why it cannot be used, empty if it can. `secrets` never leave the gateway.
    """

    provider: Provider
    base_url: str
    key: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    table: UpstreamTable = field(default_factory=UpstreamTable)
    problem: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(text for text in (self.key, *(value for _, value in self.headers)) if text)

    def takes(self, model: str) -> bool:
        """Whether the operator lets clients ask for a model."""
        return any(fnmatchcase(model, pattern) for pattern in self.table.models)


def gateway_settings(settings: Settings) -> GatewaySettings:
    """The table `[gateway]`.

    Raises:
        ConfigError: it is wrong.
    """
    return settings.plugin("gateway", GatewaySettings)


def targets(
    table: GatewaySettings, env: Mapping[str, str] = os.environ
) -> Mapping[Provider, Target]:
    """The upstreams, by the provider whose API they speak.

    Raises:
        ConfigError: a header cannot be one.
    """
    found: dict[Provider, Target] = {
        "openai": _target("openai", table.openai, env),
        "anthropic": _target("anthropic", table.anthropic, env),
    }
    return found


def _target(provider: Provider, table: UpstreamTable, env: Mapping[str, str]) -> Target:
    default, url_variable, key_variable = _URLS[provider]
    problems: list[str] = []
    url = table.base_url or _from_environment(provider, env.get(url_variable, ""), problems)
    variable = table.key_env or ("" if table.base_url else key_variable)
    key = env.get(variable, "").strip() if variable else ""
    here = urlsplit(url or default).hostname in _LOOPBACK
    if variable and not key and (table.key_env or not here):
        problems.append(f"the key of {provider} is missing: set {variable}")
    if not (key.isascii() and key.isprintable()):
        problems.append(f"the key in {variable} holds a character that no header can carry")
    headers = tuple(_headers(provider, table.headers, env, problems))
    return Target(provider, url or default, key, headers, table, "; ".join(problems))


def _from_environment(provider: Provider, text: str, problems: list[str]) -> str:
    """The base URL of the environment; Anthropic's libraries write theirs without `/v1`."""
    if not text:
        return ""
    try:
        url = checked_url(text)
    except ValueError as error:
        problems.append(f"{_URLS[provider][1]}: {error}")
        return ""
    return f"{url}/v1" if provider == "anthropic" and not url.endswith("/v1") else url


def _headers(
    provider: Provider, headers: Mapping[str, str], env: Mapping[str, str], problems: list[str]
) -> list[tuple[str, str]]:
    found = []
    for name, value in sorted(headers.items()):
        text = env.get(value[1:], "") if value.startswith("$") else value
        where = f"[gateway.{provider}] headers.{name}"
        if not (name.isascii() and name.replace("-", "").isalnum()):
            raise ConfigError(f"{where}: this is no name of a header")
        if not (text.isascii() and text.isprintable()):
            raise ConfigError(f"{where}: the value holds a character that no header can carry")
        if not text:
            problems.append(f"{where}: the environment variable {value[1:]} is not set")
        found.append((name.lower(), text))
    return found
