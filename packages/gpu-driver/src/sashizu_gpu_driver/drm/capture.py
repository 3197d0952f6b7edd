"""What the kernel tells of the devices of a machine, to be looked at elsewhere.

Only files that are listed here are read. Serial numbers are left out, processes are renumbered and
have no names: what is left says which devices there are and what they measure, not whose they are.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sashizu_core.errors import UsageError

from sashizu_gpu_driver.drm.clients import MAJORS, major_of
from sashizu_gpu_driver.drm.files import text

__all__ = ["FORMAT", "capture", "write_tree"]

FORMAT = 1

_LARGEST = 64 * 1024
_NODES = ("sys/class/drm/card[0-9]*", "sys/class/accel/accel[0-9]*")
_FILES = (
    *("gt_*_freq_mhz", "gt/gt*/*", "device/uevent", "device/vendor", "device/device"),
    *("device/gpu_busy_percent", "device/mem_busy_percent", "device/mem_info_*"),
    *("device/pp_dpm_*", "device/gpu_metrics", "device/power/runtime_status"),
    *("device/product_name", "device/npu_*", "device/tile*/gt*/freq*/*"),
    *("device/tile*/gt*/freq*/throttle/*", "device/tile*/gt*/gtidle/*"),
    *("device/hwmon/hwmon*/temp*_input", "device/hwmon/hwmon*/power*", "device/hwmon/hwmon*/fan*"),
    *("device/hwmon/hwmon*/pwm[0-9]*", "device/hwmon/hwmon*/freq*", "device/hwmon/hwmon*/energy*"),
    "device/drm/renderD*/dev",
)
_FIRST_PID = 1000
_CLIENT = re.compile(r"^(drm-client-id:\s*)\d+", re.MULTILINE)
_PLACE = re.compile(r"(?:sys/class/(?:drm|accel)|proc)/[\w./:-]+")


def capture(
    root: Path = Path("/"), *, major: Callable[[str], int | None] = major_of
) -> dict[str, Any]:
    """The files by their paths, as text or, where they are no text, in base64."""
    files: dict[str, Any] = {}
    for pattern in _NODES:
        for node in sorted(root.glob(pattern)):
            if "-" in node.name:
                continue  # a connector such as card0-DP-1
            for path in sorted({path for name in _FILES for path in node.glob(name)}):
                if (told := _told(path)) is not None:
                    files[str(path.relative_to(root))] = told
    links: dict[str, str] = {}
    for place, (target, told) in enumerate(_clients(root, major)):
        folder = f"proc/{_FIRST_PID + place}"
        links[f"{folder}/fd/3"] = target
        files[f"{folder}/fdinfo/3"] = _CLIENT.sub(rf"\g<1>{place + 1}", told)
    return {
        "format": FORMAT,
        "kernel": text(root / "proc/sys/kernel/osrelease") or "unknown",
        "files": files,
        "links": links,
    }


def _told(path: Path) -> str | dict[str, str] | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST)
    except OSError:
        return None  # a sensor that does not answer is a folder, or raises
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _clients(root: Path, major: Callable[[str], int | None]) -> Iterator[tuple[str, str]]:
    for descriptor in sorted(root.glob("proc/[0-9]*/fd/*")):
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if not target.startswith("/dev/") or major(str(descriptor)) not in MAJORS:
            continue
        told = text(descriptor.parent.parent / "fdinfo" / descriptor.name)
        if told and "drm-driver" in told:
            # The path of the device says nothing of anybody; what else is open is not looked at.
            yield target, "".join(f"{line}\n" for line in told.splitlines() if "drm-" in line)


def write_tree(captured: Mapping[str, Any], folder: Path) -> None:
    """Write what was captured below a folder, which then is a root for `DrmBackend`.

    Raises:
        UsageError: it is no capture of this format, or names a path that it must not.
    """
    if captured.get("format") != FORMAT:
        raise UsageError(f"a capture of format {captured.get('format')!r}; known is {FORMAT}")
    for name, told in captured["files"].items():
        path = _below(folder, name)
        path.write_bytes(
            base64.b64decode(told["base64"]) if isinstance(told, dict) else told.encode("ascii")
        )
    for name, target in captured["links"].items():
        _below(folder, name).symlink_to(target)


def _below(folder: Path, name: str) -> Path:
    if not _PLACE.fullmatch(name) or ".." in PurePosixPath(name).parts:
        raise UsageError(f"a capture names the path {name!r}")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
