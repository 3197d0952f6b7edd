"""The first answers as they were made by the whole program, kept for the next start.

They depend on what is installed, on the settings, the policy and the agents' files. The file names
all of those with the state in which they were; if one differs, it is not used. Workspaces that
bring none of these share one file, so that the first start in a new one is as fast as any.
"""

import os
import stat
import sys

from sashizu_mcp_server.startup.jsontext import read_json

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

    from sashizu_mcp_server.startup.options import Options

__all__ = [
    "MODERN",
    "Prepared",
    "kept_file",
    "made_for",
    "read_prepared",
    "shared_file",
    "state_of",
]

FORMAT = "2"

_UNIX = sys.platform not in ("win32", "darwin", "android", "ios")

MODERN = "2026-07-28"
"""The protocol version whose requests carry what a handshake said before."""

_VARIABLES = (
    "SASHIZU_DISABLE",
    "SASHIZU_STRICT_PLUGINS",
    "SASHIZU_HOME",
    "HOME",
    "XDG_CONFIG_HOME",
    "PYTHONPATH",
)


class Prepared:
    """Results as JSON texts: `results[method][version]`; `latest` answers unknown versions.

    `fingerprint` tells the tools that they were made of.
    """

    __slots__ = ("fingerprint", "latest", "results")

    def __init__(
        self, results: "dict[str, dict[str, str]]", latest: str, fingerprint: str = ""
    ) -> None:
        self.results = results
        self.latest = latest
        self.fingerprint = fingerprint


def made_for(options: "Options", *, shared: bool = False) -> str:
    """What answers were made for, beside the files that they depend on.

    `shared` ones are for every folder that has none of these files.
    """
    said = "\n".join(f"{name}={os.environ.get(name, '')}" for name in _VARIABLES)
    folder = "" if shared else os.getcwd()  # noqa: PTH109
    return f"{FORMAT}\n{sys.version}\n{sys.prefix}\n{folder}\n{options.key}\n{said}"


def kept_file(options: "Options") -> str:
    """Where the answers for these options and this folder are kept."""
    return _file(made_for(options))


def shared_file(options: "Options") -> str:
    """Where the answers for these options and folders that bring nothing are kept."""
    return _file(made_for(options, shared=True))


def _file(key: str) -> str:
    name = 2166136261
    for byte in key.encode("utf-8", "surrogateescape"):
        name = (name ^ byte) * 16777619 & 0xFFFFFFFFFFFFFFFF
    return f"{_state_home()}/mcp/{name:016x}.json"


def _state_home() -> str:
    """As `sashizu_core.home.state_home`, which has to be imported where platforms differ."""
    if home := os.environ.get("SASHIZU_HOME"):
        return os.path.abspath(os.path.expanduser(home))  # noqa: PTH100, PTH111
    if _UNIX:
        states = os.environ.get("XDG_STATE_HOME", "")
        base = states if states.strip() else os.path.expanduser("~/.local/state")  # noqa: PTH111
        return f"{base}/sashizu"
    from sashizu_core.home import state_home

    return str(state_home())


def state_of(path: str) -> str:
    """The state of a file, or of a folder and all files in it; `-` where there is none.

    Of a folder that ends in `/`, only whether something was added to it or removed.
    """
    try:
        found = os.stat(path)  # noqa: PTH116
        if not stat.S_ISDIR(found.st_mode):
            return f"{found.st_mtime_ns}.{found.st_size}.{found.st_ino}"
        if path.endswith("/"):
            return f"{found.st_mtime_ns}"
        with os.scandir(path) as entries:
            inside = sorted((entry.name, entry.stat()) for entry in entries if entry.is_file())
    except OSError:
        return "-"
    return "|".join(f"{name}:{each.st_mtime_ns}.{each.st_size}" for name, each in inside)


def read_prepared(options: "Options") -> "Prepared | None":
    """The kept answers; None where there are none, or where something has changed since."""
    own = _read(kept_file(options), made_for(options))
    if own is not None:
        return own
    return _read(shared_file(options), made_for(options, shared=True))


def _read(file: str, key: str) -> "Prepared | None":
    """What a file keeps, if it was made for that and still holds; paths in it may be relative."""
    try:
        fd = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if found.st_mode & 0o022 or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            return None  # others could have written it
        data = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
    finally:
        os.close(fd)
    try:
        kept: Any = read_json(data)
        if kept["made_for"] != key:
            return None
        if any(state_of(path) != state for path, state in kept["states"].items()):
            return None
        return Prepared(kept["results"], kept["latest"], kept["fingerprint"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
