"""What of servers somebody has approved: the fingerprints of tools, as they were then.

One file per server in the state folder, mode 0600. A tool whose description or schema is another
than the one that was approved needs approval again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sashizu_core.errors import SashizuError
from sashizu_core.home import state_home

__all__ = ["PinBook", "PinState", "pin_book"]

PinState = Literal["approved", "new", "changed"]

LARGEST_FILE = 1024 * 1024
"""Bytes of a file of fingerprints that are read."""

_OTHERS_WRITE = 0o022

_WORST: Mapping[PinState, int] = {"approved": 0, "new": 1, "changed": 2}

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Pinned(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str
    tools: dict[str, Digest]
    pinned_at: float


class PinBook:
    """The approved tools of a state folder, and what this process has seen of servers.

    A server is known by its `identity`, which says whose it is beside its name, so that the server
    of one repository is not taken for that of another.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "mcp" / "pins"
        self._writing = Lock()
        self._seen: dict[tuple[str, str, str], dict[str, PinState]] = {}

    def tools(self, identity: str) -> Mapping[str, str]:
        """The approved tools of a server, as name to SHA-256.

        Raises:
            SashizuError: the file that says so is damaged, or others could have written it.
        """
        path = self._file(identity)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SashizuError(f"{path} cannot be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if hasattr(os, "geteuid") and (
                found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE
            ):
                raise SashizuError(
                    f"{path} says which tools are approved, but others could have written it; "
                    "remove it and approve them again"
                )
            content = file.read(LARGEST_FILE + 1)
        try:
            pinned = _Pinned.model_validate_json(content)
        except ValidationError as error:
            raise SashizuError(
                f"{path} says which tools are approved, and cannot be understood; "
                "remove it and approve them again"
            ) from error
        return pinned.tools if pinned.server == identity else {}

    def see(self, identity: str, server: str, told: Mapping[str, str]) -> dict[str, PinState]:
        """Compare what a server tells of tools with what was approved, and remember the answer.

        `told` maps names to SHA-256.

        Raises:
            SashizuError: see `tools`.
        """
        approved = self.tools(identity)
        states: dict[str, PinState] = {}
        for tool, digest in told.items():
            known = approved.get(tool)
            states[tool] = "new" if known is None else "approved" if known == digest else "changed"
            self._seen.setdefault((server, tool, digest), {})[identity] = states[tool]
        return states

    def state(self, server: str, tool: str, digest: str) -> PinState:
        """What was last seen of a tool; the worst where several servers have the name."""
        seen = self._seen.get((server, tool, digest), {})
        return max(seen.values(), key=_WORST.__getitem__, default="new")

    def pin(self, identity: str, server: str, tools: Mapping[str, str]) -> None:
        """Approve tools as they are now, as name to SHA-256.

        Raises:
            SashizuError: it cannot be written down.
        """
        with self._writing:
            self._write(identity, tools)
        for tool, digest in tools.items():
            self._seen.setdefault((server, tool, digest), {})[identity] = "approved"

    def _write(self, identity: str, tools: Mapping[str, str]) -> None:
        pinned = _Pinned(
            server=identity,
            tools={**self.tools(identity), **tools},
            pinned_at=time.time(),
        )
        path = self._file(identity)
        fresh = path.with_name(f".{path.stem}.{os.getpid()}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(pinned.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            raise SashizuError(f"what is approved cannot be written to {path}: {error}") from error

    def forget(self, identity: str) -> bool:
        """Approve nothing of a server any more; False if nothing was."""
        for seen in self._seen.values():
            seen.pop(identity, None)
        try:
            self._file(identity).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SashizuError(f"approval cannot be taken back: {error}") from error
        return True

    def _file(self, identity: str) -> Path:
        return (
            self._folder / f"{sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()}.json"
        )


@lru_cache(maxsize=64)
def _book(home: Path) -> PinBook:
    return PinBook(home)


def pin_book() -> PinBook:
    """The book of this user's state folder; the same one for all who ask in this process."""
    return _book(state_home())
