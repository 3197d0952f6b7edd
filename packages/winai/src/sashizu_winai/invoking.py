"""What the commands of `winai` have in common: settings, devices, inputs, text of strangers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sashizu_core.devices import DeviceSpec
    from sashizu_core.settings import Settings

    from sashizu_winai.entities import Entity
    from sashizu_winai.settings import WinAiSettings

__all__ = ["asked_devices", "asked_input", "asked_settings", "asked_table", "plain"]


def asked_settings(ctx: typer.Context) -> Settings:
    """The settings of a call: those of the front door, else those of this folder."""
    from sashizu_core.settings import command_settings

    return command_settings(ctx.find_root().obj)


def asked_table(ctx: typer.Context) -> WinAiSettings:
    """The table `[winai]` of a call.

    Raises:
        ConfigError: it is wrong.
    """
    from sashizu_winai.settings import winai_settings

    return winai_settings(asked_settings(ctx))


def asked_devices(ctx: typer.Context) -> Sequence[DeviceSpec]:
    """The backends of devices that plugins offer and the settings want."""
    from sashizu_core.devices import chosen
    from sashizu_core.plugins import Registry, open_registry

    settings = asked_settings(ctx)
    found = getattr(ctx.find_root().obj, "registry", None)
    registry = found if isinstance(found, Registry) else open_registry(settings)
    return chosen(registry.devices, settings.devices.backends)


def asked_input(text: str) -> tuple[str, Entity]:
    """One input as it was written.

    Raises:
        UsageError: it is not `NAME=KIND:VALUE`, or there is no such file.
    """
    from sashizu_core.errors import UsageError

    from sashizu_winai.entities import PATH_KINDS, Entity, EntityKind

    name, equals, rest = text.partition("=")
    kind, colon, value = rest.partition(":")
    known = [one.value for one in EntityKind]
    if not (name and equals and colon and kind in known):
        raise UsageError(f"--input {text!r} is not NAME=KIND:VALUE; kinds are {', '.join(known)}")
    if EntityKind(kind) in PATH_KINDS:
        path = Path(value).absolute()
        if not path.is_file():
            raise UsageError(f"--input {text!r}: there is no file {str(path)!r}")
        value = str(path)
    return name, Entity(EntityKind(kind), value)


def plain(text: str) -> str:
    """A text of strangers on one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
