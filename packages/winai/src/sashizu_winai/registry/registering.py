"""Register and unregister: files first, then the registry of Windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sashizu_winai.registry.files import MANIFEST, PlannedFile
from sashizu_winai.registry.odr import Odr

__all__ = ["Registered", "register", "unregister"]

Outcome = Literal["registered", "renewed", "unchanged", "removed", "absent"]


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of the server in the registry; `server` is its name there."""

    server: str
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        return {"server": self.server, "outcome": self.outcome}


async def register(odr: Odr, name: str, folder: Path, plan: Sequence[PlannedFile]) -> Registered:
    """Have the registry know the server of a folder; doing it twice changes nothing.

    Args:
        odr: the program of the registry.
        name: what the server calls itself.
        folder: where its manifest is.
        plan: what was written there; a server whose files changed is registered anew.

    Raises:
        WindowsAiError: the registry cannot be asked, or refuses.
    """
    known = await odr.listed(name)
    changed = any(one.change != "same" for one in plan if not one.name.startswith("msix/"))
    if known is not None and not changed:
        return Registered(name, "unchanged")
    if known is not None:
        await odr.remove(known)
    await odr.add(folder / MANIFEST)
    return Registered(name, "registered" if known is None else "renewed")


async def unregister(odr: Odr, name: str) -> Registered:
    """Have the registry forget the server; its files stay.

    Raises:
        WindowsAiError: the registry cannot be asked, or refuses.
    """
    known = await odr.listed(name)
    if known is None:
        return Registered(name, "absent")
    await odr.remove(known)
    return Registered(name, "removed")
