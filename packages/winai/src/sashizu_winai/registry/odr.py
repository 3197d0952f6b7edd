"""The program of Windows that keeps the on-device agent registry: `odr.exe`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.errors import Failed, Missing, TimedOut

__all__ = ["Odr", "find_odr", "probe_registry"]

_REMEDY = "use Windows 11, build 26220.7262 or newer, or add the files of --out by hand"
_KEY = r"Software\Microsoft\Windows\CurrentVersion\Mcp"
"""Where Microsoft's own samples look for the program."""
_PROGRAM = "odr.exe" if sys.platform == "win32" else "odr"
_MOST_TEXT = 300
_TIMEOUT_S = 60.0


def find_odr(path: str | None = None) -> Odr:
    """The program, as it is on the search path, or as Windows itself has written down.

    Args:
        path: another list of folders, which alone counts.

    Raises:
        Missing: there is none.
    """
    found = _in_folders(os.environ.get("PATH", "") if path is None else path)
    found = found or ("" if path else _written_down())
    if not found:
        raise Missing("find odr.exe", "odr.exe is in no folder of PATH", remedy=_REMEDY)
    return Odr(Path(found))


def _in_folders(path: str) -> str:
    """The program in one of the folders; empty where there is none.

    On Windows a bare name would be found in the current folder first, which may be a repository's.
    """
    for folder in path.split(os.pathsep):
        found = Path(folder) / _PROGRAM
        if found.is_absolute() and shutil.which(found):
            return str(found)
    return ""


def _written_down() -> str:
    """What Windows has in its registry of settings; empty where there is nothing."""
    if sys.platform == "win32":
        import winreg

        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _KEY) as key:
            value, kind = winreg.QueryValueEx(key, "Command")
            if kind == winreg.REG_SZ and Path(value).is_file():
                return str(value)
    return ""


def probe_registry() -> Probe:
    """Whether this machine has the registry."""
    try:
        found = find_odr()
    except Missing as error:
        return error.probe(Capability.MCP_REGISTRY)
    return Probe(Capability.MCP_REGISTRY, "ready", f"{found.program} keeps the registry")


@dataclass(frozen=True, slots=True)
class Odr:
    """`odr mcp list | add MANIFEST | remove ID`, as Microsoft describes them."""

    program: Path
    timeout: float = _TIMEOUT_S

    async def add(self, manifest: Path) -> None:
        """Register the server of a manifest.

        Raises:
            WindowsAiError: the program cannot be started, does not end in time, or fails.
        """
        await self._run("mcp", "add", str(manifest))

    async def remove(self, server: str) -> None:
        """Take a server out.

        Raises:
            WindowsAiError: see `add`; also where there is none of that id.
        """
        await self._run("mcp", "remove", server)

    async def listed(self, name: str) -> str | None:
        """The id under which a server of this name is registered; None if none is.

        Raises:
            WindowsAiError: see `add`; or what it answers is no JSON.
        """
        text = await self._run("mcp", "list")
        if not text.strip():
            return None
        try:
            servers = json.loads(text)
        except ValueError as error:
            found = f"it answered no JSON: {_plain(text)}"
            raise Failed("run odr mcp list", found, remedy="bring Windows up to date") from error
        return next((_id(one, name) for one in _entries(servers) if _name(one) == name), None)

    async def _run(self, *words: str) -> str:
        operation = f"run odr {' '.join(words[:2])}"
        try:
            with anyio.fail_after(self.timeout):
                ended = await anyio.run_process(
                    [str(self.program), *words], check=False, stdin=subprocess.DEVNULL
                )
        except TimeoutError as error:
            found = f"it did not end within {self.timeout:g} s, and was ended"
            raise TimedOut(operation, found, remedy="run it by hand and look") from error
        except OSError as error:
            raise Failed(operation, f"it cannot be started: {error}", remedy=_REMEDY) from error
        told = (ended.stderr or ended.stdout).decode(errors="replace")
        if ended.returncode:
            found = f"it ended with {ended.returncode}: {_plain(told) or 'it said nothing'}"
            raise Failed(operation, found, remedy="run it by hand and look")
        return ended.stdout.decode("utf-8-sig", errors="replace")


def _entries(servers: Any) -> Iterator[dict[str, Any]]:
    """The servers of a listing, which is a list or an object that holds one."""
    if isinstance(servers, dict):
        servers = servers.get("servers", [servers])
    if isinstance(servers, list):
        yield from (one for one in servers if isinstance(one, dict))


def _name(entry: dict[str, Any]) -> str:
    manifest = entry.get("manifest")
    inner = manifest.get("name") if isinstance(manifest, dict) else None
    return str(inner or entry.get("name") or "")


def _id(entry: dict[str, Any], name: str) -> str:
    return str(entry.get("id") or entry.get("identifier") or name)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_MOST_TEXT].strip()
