"""How a process is scheduled: asked of the kernel, within limits, and put back."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from sashizu_core.devices import DeviceError, Hint, HintResult

__all__ = ["HIGHEST_WEIGHT", "LOWEST_NICE", "apply_hint"]

LOWEST_NICE = -10
"""A process may be preferred to others, but not to what keeps the machine alive."""

HIGHEST_WEIGHT = 1000
"""Ten times what a cgroup has without being asked."""

_POLICIES = {"other": "SCHED_OTHER", "batch": "SCHED_BATCH", "idle": "SCHED_IDLE"}
_WORDS = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle"}


Done = tuple[str, Callable[[], None]]
"""What was done, and what undoes it."""


class _Refused(Exception):
    """One part of a hint cannot be applied; never leaves this module."""

    def __init__(self, reason: str, *, unsupported: bool = False) -> None:
        super().__init__(reason)
        self.unsupported = unsupported


def apply_hint(pid: int, hint: Hint, *, root: Path = Path("/")) -> HintResult:
    """Apply a hint whole or not at all; never raises.

    `undo` of what comes back puts every part back as it was, if the process is still the same one.
    """
    if sys.platform != "linux":
        return HintResult("unsupported", reason=f"hints need Linux; this is {sys.platform}")
    parts = _parts(pid, hint, root)
    if not parts:
        return HintResult("unsupported", reason="the hint asks for nothing")
    done: list[Done] = []
    try:
        born = _born(pid, root)
        for part in parts:
            done.append(part())  # noqa: PERF401 - what was done is needed where a part fails
    except _Refused as refused:
        for _, undo in reversed(done):
            _as_far_as_possible(undo)
        return HintResult("unsupported" if refused.unsupported else "denied", reason=str(refused))
    how = ", ".join(how for how, _ in done)
    return HintResult("applied", how=how, undo=lambda: _undo(pid, born, done, root))


def _undo(pid: int, born: str, done: list[Done], root: Path) -> None:
    try:
        if _born(pid, root) != born:
            raise DeviceError(f"process {pid} is another one now")
        for _, undo in reversed(done):
            undo()
    except _Refused as gone:
        raise DeviceError(str(gone)) from None
    except OSError as error:
        raise DeviceError(f"the hint to {pid} cannot be undone: {error}") from error


def _parts(pid: int, hint: Hint, root: Path) -> list[Callable[[], Done]]:
    found: list[Callable[[], Done]] = []
    if (nice := hint.nice) is not None:
        found.append(lambda: _nice(pid, nice))
    if (policy := hint.policy) is not None:
        found.append(lambda: _policy(pid, policy))
    if (weight := hint.cpu_weight) is not None:
        found.append(lambda: _weight(pid, weight, root))
    if (most := hint.device_memory_max) is not None:
        found.append(lambda: _device_memory(pid, most, root))
    return found


def _born(pid: int, root: Path) -> str:
    """When a process began: with its number, it names it for good."""
    try:
        text = (root / f"proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        raise _Refused(f"there is no process {pid}") from None
    return text.rpartition(")")[2].split()[19]


def _nice(pid: int, nice: int) -> Done:
    if not LOWEST_NICE <= nice <= 19:
        raise _Refused(f"nice {nice} was asked for; it may be {LOWEST_NICE} to 19")
    before: dict[int, int] = {}

    def set_one(thread: int) -> None:
        had = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, nice)
        before[thread] = had

    def put_back() -> None:
        _each(pid, before, lambda thread: os.setpriority(os.PRIO_PROCESS, thread, before[thread]))

    try:
        _each(pid, _threads(pid), set_one)
    except OSError as error:
        _as_far_as_possible(put_back)
        raise _Refused(
            f"nice {nice}: {error.strerror}; less than now needs CAP_SYS_NICE or RLIMIT_NICE"
        ) from None
    return f"nice {before[pid]} to {nice}", put_back


def _policy(pid: int, policy: str) -> Done:
    wanted = getattr(os, _POLICIES[policy])
    before: dict[int, tuple[int, os.sched_param]] = {}

    def set_one(thread: int) -> None:
        had = os.sched_getscheduler(thread), os.sched_getparam(thread)
        if _WORDS.get(had[0]) not in _POLICIES:
            raise _Refused(f"process {pid} has a real-time policy, which is left alone")
        os.sched_setscheduler(thread, wanted, os.sched_param(0))
        before[thread] = had

    def put_back() -> None:
        _each(pid, before, lambda thread: os.sched_setscheduler(thread, *before[thread]))

    try:
        _each(pid, _threads(pid), set_one)
    except OSError as error:
        _as_far_as_possible(put_back)
        raise _Refused(f"policy {policy}: {error.strerror}") from None
    except _Refused:
        _as_far_as_possible(put_back)
        raise
    return f"policy {_WORDS[before[pid][0]]} to {policy}", put_back


def _as_far_as_possible(undo: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        undo()


def _threads(pid: int) -> list[int]:
    """The threads of a process, each of which the kernel schedules by itself; the first is `pid`.

    What they start later is scheduled as they are (sched(7)).
    """
    others = {int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()} - {pid}
    return [pid, *sorted(others)]


def _each(pid: int, threads: Iterable[int], change: Callable[[int], None]) -> None:
    """Change each thread but those that have ended; the process itself must be there."""
    for thread in tuple(threads):
        try:
            change(thread)
        except ProcessLookupError:
            if thread == pid:
                raise


def _cgroup(pid: int, root: Path) -> Path:
    """The folder of a process's cgroup, of version 2.

    Only a cgroup whose processes are this one and those that it started is changed: what else is
    in it was not asked about.
    """
    try:
        lines = (root / f"proc/{pid}/cgroup").read_text("utf-8").splitlines()
    except OSError:
        raise _Refused(f"there is no process {pid}") from None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    folder = root / "sys/fs/cgroup" / (path or "").lstrip("/")
    if path is None or not (folder / "cgroup.procs").is_file():
        raise _Refused("there is no cgroup of version 2", unsupported=True)
    if path == "/":
        raise _Refused("the process is in the cgroup of the whole machine")
    return folder


def _alone(pid: int, folder: Path, root: Path) -> None:
    """Refuse to change a cgroup that others are in as well."""
    for line in (folder / "cgroup.procs").read_text("ascii").split():
        if int(line) != pid and not _descends(int(line), pid, root):
            raise _Refused(f"process {line} is in the same cgroup, and was not asked about")


def _descends(pid: int, above: int, root: Path) -> bool:
    for _ in range(64):
        if pid == above:
            return True
        try:
            text = (root / f"proc/{pid}/stat").read_text("utf-8", "replace")
        except OSError:
            return True  # it has ended
        pid = int(text.rpartition(")")[2].split()[1])
        if pid <= 1:
            break
    return pid == above


def _written(pid: int, name: str, text: str, root: Path) -> Done:
    folder = _cgroup(pid, root)
    file = folder / name
    if not file.is_file():
        raise _Refused(f"the kernel has no {name} here", unsupported=True)
    try:
        _alone(pid, folder, root)
        before = file.read_text("ascii").strip()
        file.write_text(f"{text}\n", "ascii")
    except OSError as error:
        raise _Refused(f"{name}: {error.strerror}; the cgroup belongs to somebody else") from None

    def put_back() -> None:
        file.write_text(f"{before}\n", "ascii")

    return f"{name} {before} to {text}", put_back


def _weight(pid: int, weight: int, root: Path) -> Done:
    if not 1 <= weight <= HIGHEST_WEIGHT:
        raise _Refused(f"cpu.weight {weight} was asked for; it may be 1 to {HIGHEST_WEIGHT}")
    return _written(pid, "cpu.weight", str(weight), root)


def _device_memory(pid: int, most: int, root: Path) -> Done:
    """`dmem.max` has one line for each region of device memory."""
    if most < 0:
        raise _Refused(f"{most} bytes of device memory were asked for")
    folder = _cgroup(pid, root)
    file = folder / "dmem.max"
    if not file.is_file():
        raise _Refused("the kernel bounds no device memory (dmem, Linux 6.14)", unsupported=True)
    regions = [line.split()[0] for line in file.read_text("utf-8").splitlines() if line.strip()]
    if not regions:
        raise _Refused("no driver tells dmem of its memory", unsupported=True)
    return _regions(pid, folder, file, regions, most, root)


def _regions(pid: int, folder: Path, file: Path, regions: list[str], most: int, root: Path) -> Done:
    before = file.read_text("utf-8")

    def put_back() -> None:
        for line in before.splitlines():
            file.write_text(f"{line}\n", "utf-8")

    try:
        _alone(pid, folder, root)
        for region in regions:
            file.write_text(f"{region} {most}\n", "utf-8")
    except OSError as error:
        with contextlib.suppress(OSError):
            put_back()
        raise _Refused(f"dmem.max: {error.strerror}; the cgroup belongs to somebody else") from None
    return f"dmem.max of {len(regions)} regions to {most}", put_back
