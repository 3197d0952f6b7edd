"""Where the metadata files of this machine are: the Windows SDK, Windows itself, and packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["winmd_files", "winmd_places"]

MOST_FILES = 2_000
"""Files that are looked at; more than an SDK with several versions has."""


def winmd_places(environ: Mapping[str, str]) -> tuple[tuple[Path, str], ...]:
    """Folders that hold metadata, each with the pattern of files beneath it.

    `environ` are the variables that Windows sets for every program; those that are not set leave
    their places out.
    """
    found: list[tuple[Path, str]] = []
    if root := environ.get("SystemRoot"):
        found.append((Path(root, "System32", "WinMetadata"), "*.winmd"))
    kits = environ.get("WindowsSdkDir") or (
        environ.get("ProgramFiles(x86)", "") and str(Path(environ["ProgramFiles(x86)"], _KITS))
    )
    if kits:
        found.append((Path(kits, "UnionMetadata"), "*/Windows.winmd"))
        found.append((Path(kits, "References"), "*/*/*/*.winmd"))
    if programs := environ.get("ProgramFiles"):
        found.append((Path(programs, "WindowsApps"), "Microsoft.WindowsAppRuntime.*/*.winmd"))
    if packages := environ.get("NUGET_PACKAGES"):
        found.append((Path(packages), _NUGET))
    elif user := environ.get("USERPROFILE"):
        found.append((Path(user, ".nuget", "packages"), _NUGET))
    return tuple(found)


_KITS = "Windows Kits/10"
_NUGET = "microsoft.windowsappsdk*/*/**/*.winmd"


def winmd_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """The files in all places, at most 2,000. A folder that cannot be listed is passed over."""
    left = MOST_FILES
    for folder, pattern in winmd_places(environ):
        try:
            for path in sorted(folder.glob(pattern)):
                if left == 0:
                    return
                left -= 1
                yield path
        except OSError:
            continue
