"""What a server allows at most: the outermost grants of everything that its clients start."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sashizu_core.errors import ConfigError
from sashizu_core.grants import Grants
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.permissions import effective
from sashizu_core.policy_tables import PolicySettings
from sashizu_core.settings import Settings

__all__ = ["READ_ONLY", "BoundSettings", "bounded", "load_ceiling", "narrower"]

READ_ONLY = OperatorPolicy(
    fs_read=(".",), fs_write=(), net=(), exec=(), source="the server's ceiling"
)
"""The working directory may be read; nothing is written, run or connected to."""

_MOST_BYTES = 1024 * 1024


def load_ceiling(file: Path | None) -> OperatorPolicy:
    """The ceiling that a policy file says; what it does not name is as in `READ_ONLY`.

    The file has the table `[policy]` of the settings. None is `READ_ONLY`.

    Raises:
        ConfigError: it cannot be read, is no TOML, or says something else.
    """
    if file is None:
        return READ_ONLY
    source = f"the server's ceiling, {file}"
    said = _read(file).operator_policy(source, lambda index: f"{file} [[policy.rule]] {index + 1}")
    named = {
        each.name: value for each in fields(said) if (value := getattr(said, each.name)) is not None
    }
    return replace(READ_ONLY, **named)


def _read(file: Path) -> PolicySettings:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"the policy is larger than {_MOST_BYTES:,} bytes", file=file)
        tables: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"the policy cannot be read: {error.strerror}", file=file) from error
    except ValueError as error:
        raise ConfigError(f"the policy is no TOML: {error}", file=file) from error
    unknown = sorted(tables.keys() - {"policy"})
    if unknown or "policy" not in tables:
        found = f"found {', '.join(unknown)}" if unknown else "it has none"
        raise ConfigError(f"a policy file has the table [policy] and no other; {found}", file=file)
    try:
        return PolicySettings.model_validate(tables["policy"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"policy.{where}: {first['msg']}", file=file) from None


def narrower(above: OperatorPolicy, below: OperatorPolicy) -> OperatorPolicy:
    """What both allow, and the rules of both. `source` names both."""
    common = effective((_grants(above), _grants(below)))

    def both(name: str) -> Any:
        first, second = getattr(above, name), getattr(below, name)
        if first is None or second is None:
            return second if first is None else first
        return getattr(common, name)

    bounds = ("tools", "fs_read", "fs_write", "net", "exec", "spawn", "devices")
    return OperatorPolicy(
        **{name: both(name) for name in bounds},
        rules=tuple(dict.fromkeys((*above.rules, *below.rules))),
        source="; ".join(dict.fromkeys(filter(None, (above.source, below.source)))),
        above=above.above,
    )


def _grants(policy: OperatorPolicy) -> Grants:
    """A policy as grants; what it does not bound is left out, and not looked at."""
    return Grants(
        tools=policy.tools,
        fs_read=policy.fs_read or (),
        fs_write=policy.fs_write or (),
        net=policy.net or (),
        exec=policy.exec or (),
        spawn=policy.spawn or frozenset(),
        devices=policy.devices or frozenset(),
    )


@dataclass(frozen=True)
class BoundSettings(Settings):
    """Settings under a further ceiling, which stands above every agent of their runs."""

    ceiling: OperatorPolicy = field(default_factory=OperatorPolicy)

    @cached_property
    def policy(self) -> OperatorPolicy:
        """What the operator allows at most, and of that what the ceiling does."""
        return narrower(super().policy, self.ceiling)


def bounded(settings: Settings, ceiling: OperatorPolicy) -> BoundSettings:
    """The same settings under one more ceiling."""
    if isinstance(settings, BoundSettings):
        ceiling = narrower(settings.ceiling, ceiling)
    return BoundSettings(
        settings.tables, settings.origins, settings.warnings, settings.admin, ceiling=ceiling
    )
