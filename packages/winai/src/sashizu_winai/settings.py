"""The table `[winai]` of the settings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_budget_flags, parse_duration
from sashizu_core.redaction import named_like_a_secret
from sashizu_core.settings import Settings, Table

__all__ = [
    "FilterSettings",
    "HostingSettings",
    "LanguageModelSettings",
    "WinAiSettings",
    "winai_settings",
]

Name = Annotated[str, Field(min_length=1, max_length=200)]


def _budget(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        _, agents = parse_budget_flags(texts)
    except UsageError as error:
        raise ValueError(str(error)) from error
    if agents:
        raise ValueError(f"it bounds every run; {next(iter(agents))!r} cannot have one of its own")
    return texts


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


class HostingSettings(Table):
    """`[winai.hosting]`: `agents` are those that other programs may invoke as App Actions.

    They work in `workspace`, each invocation as a run of its own with `budget` (that of `[run]`
    where it is empty) and `deadline`, `at_once` at the same time. `invokers` are the application
    user model ids of programs that may see and invoke them; `*` stands for any text.
    """

    agents: tuple[Name, ...] = ()
    workspace: str = ""
    budget: Annotated[tuple[str, ...], AfterValidator(_budget)] = ()
    deadline: Annotated[str, AfterValidator(_duration)] = "10m"
    at_once: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    invokers: tuple[Name, ...] = ("*",)


class FilterSettings(Table):
    """`[winai.mcp_filter]`: what programs of this machine may ask MCP servers for.

    `allow` names tools as `SERVER/TOOL`, or all of a server as `SERVER/*`; nothing by default.
    `pins` are fingerprints of tools (SHA-256, in hexadecimal) by `SERVER/TOOL`: one that describes
    itself otherwise is not called.
    """

    allow: tuple[Name, ...] = ()
    pins: dict[Name, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(default_factory=dict)


def _secret(name: str) -> str:
    if name and not named_like_a_secret(name):
        raise ValueError(
            f"{name!r} does not sound like a secret, so its value would not be kept out of the "
            "record; name a variable that ends in _TOKEN"
        )
    return name


class LanguageModelSettings(Table):
    """`[winai.language_model]`: what unlocks the model of Windows, where Microsoft has locked it.

    `token_env` is the variable of the environment with the token that Microsoft gave for the
    package that this runs in, `attestation` the sentence that belongs to it.
    """

    token_env: Annotated[str, Field(max_length=200), AfterValidator(_secret)] = ""
    attestation: Annotated[str, Field(max_length=500)] = ""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if bool(self.token_env) != bool(self.attestation):
            raise ValueError("token_env and attestation go together: Microsoft gives both")
        return self


class WinAiSettings(Table):
    """`[winai]`: `actions` are the ids of the App Actions that agents may invoke; none by default.

    An id that ends in `*` stands for all that begin like it. `timeout` is how many seconds an
    action may take. `fake` has the fake backend answer, which uses nothing of Windows. `hosting` is
    for agents that others invoke, `mcp_filter` for messages between other programs,
    `language_model` for what unlocks the model.
    """

    actions: tuple[Name, ...] = ()
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    fake: bool = False
    hosting: HostingSettings = HostingSettings()
    language_model: LanguageModelSettings = LanguageModelSettings()
    mcp_filter: FilterSettings = FilterSettings()

    def allows(self, action: str) -> bool:
        """Whether agents may invoke an action."""
        return any(
            action.startswith(name[:-1]) if name.endswith("*") else action == name
            for name in self.actions
        )


def winai_settings(settings: Settings) -> WinAiSettings:
    """The table, validated.

    Raises:
        ConfigError: a key is unknown or a value is wrong.
    """
    return settings.plugin("winai", WinAiSettings)
