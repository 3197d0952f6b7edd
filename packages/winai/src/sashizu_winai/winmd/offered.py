"""What metadata files offer of Windows AI, and what each type is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sashizu_winai.capabilities import Capability
from sashizu_winai.winmd.metadata import LARGEST_FILE, BadWinmd, WinmdType, types_of

__all__ = ["OfferedApi", "Offering", "ReadFile", "capability_of", "is_of_windows_ai", "read_files"]

_ROOTS = ("Windows.AI", "Microsoft.Windows.AI")
_CAPABILITIES: tuple[tuple[str, Capability], ...] = (
    ("Windows.AI.Actions.Provider", Capability.ACTIONS_PROVIDER),
    ("Windows.AI.Actions", Capability.ACTIONS),
    ("Windows.AI.Agents.Mcp", Capability.MCP_FILTER),
    ("Windows.AI.MachineLearning", Capability.WINDOWS_ML),
    ("Microsoft.Windows.AI.MachineLearning", Capability.WINDOWS_ML),
    ("Microsoft.Windows.AI.Text", Capability.LANGUAGE_MODEL),
    ("Microsoft.Windows.AI.ContentSafety", Capability.LANGUAGE_MODEL),
)
"""The first that a namespace is, or lies in. Others of Windows AI are used for nothing here."""


@dataclass(frozen=True, slots=True)
class OfferedApi:
    """One type. `capability` is None where sashizu uses it for nothing."""

    type: WinmdType
    capability: Capability | None
    file: Path

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.type.full_name,
            "kind": self.type.kind,
            "capability": self.capability,
            "file": str(self.file),
        }


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One file: how many types it has, of them of Windows AI; `fault` says why it was not read."""

    path: Path
    types: int = 0
    of_windows_ai: int = 0
    fault: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "types": self.types,
            "of_windows_ai": self.of_windows_ai,
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class Offering:
    """What all files together offer, each type once, sorted by name."""

    apis: tuple[OfferedApi, ...]
    files: tuple[ReadFile, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "apis": [one.as_json() for one in self.apis],
            "files": [one.as_json() for one in self.files],
        }


def is_of_windows_ai(namespace: str) -> bool:
    """Whether a namespace is one of Windows AI."""
    return any(_lies_in(namespace, root) for root in _ROOTS)


def capability_of(namespace: str) -> Capability | None:
    """What the types of a namespace are for here; None for nothing."""
    return next((one for root, one in _CAPABILITIES if _lies_in(namespace, root)), None)


def read_files(paths: Iterable[Path]) -> Offering:
    """Read metadata files; one that cannot be read says so and harms no other."""
    apis: dict[str, OfferedApi] = {}
    files: list[ReadFile] = []
    for path in paths:
        try:
            found = types_of(_content(path))
        except (OSError, BadWinmd) as error:
            files.append(ReadFile(path, fault=str(error)))
            continue
        ours = [one for one in found if is_of_windows_ai(one.namespace)]
        files.append(ReadFile(path, len(found), len(ours)))
        for one in ours:
            api = OfferedApi(one, capability_of(one.namespace), path)
            apis.setdefault(one.full_name, api)
    return Offering(tuple(apis[name] for name in sorted(apis)), tuple(files))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise BadWinmd(f"the file is larger than {LARGEST_FILE >> 20} MiB")
    return content


def _lies_in(namespace: str, root: str) -> bool:
    return namespace == root or namespace.startswith(f"{root}.")
