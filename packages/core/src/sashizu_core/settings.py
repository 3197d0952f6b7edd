"""Settings: file < user < environment < flags, one table per plugin.

```text
default      what the tables below say
project      PROJECT/sashizu.toml: only narrows what the operator's own settings allow
user         sashizu.toml in the platform's config folder
environment  SASHIZU_DISABLE, SASHIZU_STRICT_PLUGINS
flag         -c key=value
```
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sashizu_core.documents import KeyPath, complaint, dotted, is_secret
from sashizu_core.entries import installed_names
from sashizu_core.errors import ConfigError
from sashizu_core.home import admin_home, config_home
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.reactions.table import HooksSettings
from sashizu_core.settings_layers import merged_layers
from sashizu_core.settings_tables import (
    RAW,
    TYPED,
    DevicesSettings,
    Origin,
    PluginSettings,
    PolicySettings,
    RunSettings,
    SpawnSettings,
    Table,
)

__all__ = [
    "DevicesSettings",
    "Origin",
    "PluginSettings",
    "RunSettings",
    "Setting",
    "Settings",
    "Table",
    "command_settings",
    "load_settings",
]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and its origin; `path` are the keys it stands under."""

    path: KeyPath
    value: Any
    origin: Origin

    @property
    def key(self) -> str:
        """The path, dotted."""
        return dotted(self.path)

    @property
    def shown(self) -> Any:
        """The value, or a note in its place where it may be a secret."""
        return "(hidden)" if is_secret(self.path) else self.value


_DEFAULT = Origin("default", "default")


@dataclass(frozen=True)
class Settings:
    """All settings of a process.

    `tables` are the raw tables by name, already merged; `origins` says for every value in them
    where it came from; `warnings` are for a person, one sentence each. `admin` is the policy of
    whoever administers the machine.
    """

    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origins: Mapping[KeyPath, Origin] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    admin: OperatorPolicy | None = None

    @cached_property
    def run(self) -> RunSettings:
        return self.plugin("run", RunSettings)

    @cached_property
    def devices(self) -> DevicesSettings:
        return self.plugin("devices", DevicesSettings)

    @cached_property
    def spawn(self) -> SpawnSettings:
        return self.plugin("spawn", SpawnSettings)

    @cached_property
    def hooks(self) -> HooksSettings:
        return self.plugin("hooks", HooksSettings)

    @cached_property
    def plugins(self) -> PluginSettings:
        return self.plugin("plugins", PluginSettings)

    @cached_property
    def policy(self) -> OperatorPolicy:
        """What the operator allows at most."""
        origin = _origin_of(self.origins, ("policy",))

        def place(index: int) -> str:
            return _line(_origin_of(self.origins, ("policy", "rule", index)))

        source = (
            ""
            if origin.kind == "default"
            else f"the operator's policy, {origin.file or origin.text}"
        )
        own = self.plugin("policy", PolicySettings).operator_policy(source, place)
        return replace(own, above=self.admin) if self.admin is not None else own

    def plugin(self, name: str, table: type[M]) -> M:
        """The table of a plugin, validated.

        Raises:
            ConfigError: a key is unknown or a value is wrong.
        """
        return self.table((name,), table)

    def table(self, path: Sequence[str], table: type[M]) -> M:
        """Any table, validated: `("models", "local")` is `[models.local]`; empty if absent.

        Raises:
            ConfigError: a key is unknown or a value is wrong; says where it was set.
        """
        found: Any = self.tables
        for key in path:
            found = found.get(key, {}) if isinstance(found, Mapping) else {}
        try:
            return table.model_validate(found)
        except ValidationError as error:
            raise complaint(error, table, self._error, at=tuple(path)) from None

    def origin(self, key: str | Sequence[str]) -> Origin:
        """Where a value comes from; `key` is dotted, or its parts."""
        path = tuple(key.split(".")) if isinstance(key, str) else tuple(key)
        return self.origins.get(path, _DEFAULT)

    def __iter__(self) -> Iterator[Setting]:
        """Every value, defaults included, sorted by key; plugins' own defaults are theirs."""
        found = {
            (table, key): value
            for table, model in TYPED.items()
            for key, value in self.plugin(table, model)
            if not isinstance(value, BaseModel)
        }
        found |= dict(_leaves(self.tables))
        for path in sorted(found):
            yield Setting(path, found[path], self.origins.get(path, _DEFAULT))

    def _error(self, path: KeyPath, message: str) -> ConfigError:
        origin = _origin_of(self.origins, path)
        if origin.place is None:
            return ConfigError(f"{origin.text}: {message}" if origin.kind != "default" else message)
        place = origin.place
        return ConfigError(message, file=origin.file, line=place.line, column=place.column)


def _origin_of(origins: Mapping[KeyPath, Origin], path: KeyPath) -> Origin:
    """The origin of a value, or of anything at or below it, or of what is around it."""
    asked = path
    while path:
        for known, origin in origins.items():
            if known[: len(path)] == path:
                return origin.within(asked[len(known) :])
        path = path[:-1]
    return _DEFAULT


def _line(origin: Origin) -> str:
    """An origin as `FILE:LINE`, or in words where it is no file."""
    return origin.text if origin.place is None else f"{origin.file}:{origin.place.line}"


def _leaves(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def command_settings(session: object) -> Settings:
    """Those of the session of a command line; where it has none, those of the working directory.

    Raises:
        ConfigError: a settings file is wrong.
    """
    found = getattr(session, "settings", None)
    return found if isinstance(found, Settings) else load_settings(Path.cwd())


def load_settings(
    project: Path,
    *,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
    config: Path | None = None,
    plugin_names: Iterable[str] | None = None,
    admin: Path | None = None,
) -> Settings:
    """Read all settings for a project folder.

    `overrides` are `-c key=value`: a dotted key and a TOML value; what is no TOML value is taken
    as text. `config` is the folder of the user's file (default: the platform's); `plugin_names`
    are the names that may have a table (default: the installed plugins). `admin` is the folder of
    the administrator's file, of which only `[policy]` is read (default: the platform's).

    Raises:
        ConfigError: a file is broken, a key is unknown or may not be set there, a value is wrong.
    """
    names = installed_names() if plugin_names is None else plugin_names
    tables, origins, warnings = merged_layers(
        user=(config or config_home()) / "sashizu.toml",
        project=project / "sashizu.toml",
        env=env,
        overrides=overrides,
        known_tables=frozenset({*TYPED, *RAW, *names}),
    )
    settings = Settings(tables, origins, tuple(warnings), admin=_policy_in(admin or admin_home()))
    for name, model in TYPED.items():
        settings.plugin(name, model)
    return settings


def _policy_in(folder: Path) -> OperatorPolicy | None:
    """The policy of the administrator's file; None where there is no file.

    Raises:
        ConfigError: it is broken, or sets something else.
    """
    file = folder / "sashizu.toml"
    if not file.exists():
        return None
    tables, origins, _ = merged_layers(
        user=file,
        project=folder / "none" / "sashizu.toml",
        env={},
        overrides=(),
        known_tables=frozenset({"policy"}),
    )
    return Settings(tables, origins, ()).policy
