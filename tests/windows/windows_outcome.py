"""What pytest is told on Windows; a plugin of `conftest.py` there.

`skipped.toml` says which tests are skipped and why. At the end the counts are printed.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TOLD = "outcome on Windows: "
SKIPPED = Path(__file__).with_name("skipped.toml")
_KEPT = ("failed", "passed", "skipped")

_counts = dict.fromkeys((*_KEPT, "trio"), 0)


def under_wine() -> bool:
    """Whether this Windows is Wine."""
    return sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


def reasons() -> Iterator[tuple[str, str]]:
    """Which test, or file of tests, is skipped here, and why."""
    for entry in tomllib.loads(SKIPPED.read_text("utf-8"))["skipped"]:
        if entry["lacks"] == "Windows" or under_wine():
            reason = f"{entry['lacks']}: {entry['reason']}"
            yield from ((test, reason) for test in entry["tests"])


_setenv = pytest.MonkeyPatch.setenv


def _set_on_windows(
    self: pytest.MonkeyPatch, name: str, value: str, prepend: str | None = None
) -> None:
    _setenv(self, name, value, prepend)
    if name == "XDG_CONFIG_HOME":  # what moves the folder of the configuration elsewhere
        _setenv(self, "WIN_PD_OVERRIDE_LOCAL_APPDATA", value)


pytest.MonkeyPatch.setenv = _set_on_windows  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what the table names; leave out what runs on trio, for it runs on asyncio too."""
    if under_wine():  # which lacks SIO_BSP_HANDLE_POLL, and trio begins with it
        trio = [item for item in items if "trio" in item.name.partition("[")[2]]
        _counts["trio"] = len(trio)
        config.hook.pytest_deselected(items=trio)
        items[:] = [item for item in items if item not in set(trio)]
    known = {test: pytest.mark.skip(reason=reason) for test, reason in reasons()}
    used = set()
    for item in items:
        whole = item.nodeid.replace("\\", "/")
        for name in (whole, whole.partition("[")[0], whole.partition("::")[0]):
            if name in known:
                used.add(name)
                item.add_marker(known[name])
    files = {item.nodeid.partition("::")[0] for item in items}
    stale = {name for name in known if name.partition("::")[0] in files} - used
    if stale and "::" not in "".join(config.args) and not config.getoption("keyword"):
        raise pytest.UsageError(f"{SKIPPED.name} names tests that are not there: {sorted(stale)}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        _counts[report.outcome] += 1


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _counts["failed"] += report.failed
    _counts["skipped"] += report.skipped


def pytest_unconfigure() -> None:
    print(TOLD + json.dumps(_counts), flush=True)


def _of_a_test(frames: int = 2) -> bool:
    """Whether a test called what called this, so many frames above."""
    return "tests" in Path(sys._getframe(frames).f_code.co_filename).parts


_symlink = os.symlink


def _no_links(source: str, target: str, *words: bool, **more: bool) -> None:
    if Path(target).name.startswith("link-"):
        return  # bait beside others: what leads through it is not there
    if _of_a_test() or _of_a_test(3):  # by itself, or by a method of a path
        pytest.skip("Wine 8: CreateSymbolicLinkW says that it made a link, and makes none")
    _symlink(source, target, *words, **more)


_read_text, _write_text = Path.read_text, Path.write_text


def _read(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
    return _read_text(self, encoding or ("utf-8" if _of_a_test() else None), errors)


def _write(
    self: Path,
    data: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> int:
    if _of_a_test():  # it plants what it says
        encoding, newline = encoding or "utf-8", "\n" if newline is None else newline
    return _write_text(self, data, encoding, errors, newline)


def _after_release(method: Callable[..., object]) -> Callable[..., object]:
    """As root elsewhere: a test changes and removes also what may only be read."""

    def released(self: Path, *words: object, **more: object) -> object:
        if _of_a_test():
            with suppress(OSError):
                self.chmod(stat.S_IWRITE)
        return method(self, *words, **more)

    return released


Path.read_text, Path.write_text = _read, _write  # type: ignore[method-assign]
if sys.platform == "win32":
    Path.unlink, Path.write_bytes = map(_after_release, (Path.unlink, Path.write_bytes))
if under_wine():
    os.symlink = _no_links
if sys.platform == "win32":
    os.mkfifo = lambda *_: pytest.skip("Windows: no file system has pipes with names")
