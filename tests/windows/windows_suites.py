"""Runs our tests on the Windows Python, one process of it for each package."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from types import ModuleType
from typing import Any

from windows_outcome import TOLD
from windows_site import ROOT, put_together

HARNESS = ROOT / "packages/gpu-driver/native/windows"
PYTHON = Path(os.environ.get("SASHIZU_WINPYTHON", ROOT / ".winpython")).resolve()
PROGRAM = "from sashizu_cli.front import main; raise SystemExit(main())"
SHORT_S, WHOLE_S = 900.0, 3600.0
"""How long the tests of a package may take on a busy machine, in the short and the whole run."""

_PYTEST = (
    *("-X", "faulthandler", "-m", "pytest", "-q", "-rs", "-n", "0", "--tb=short"),
    *("-p", "no:randomly", "-p", "no:cacheprovider"),
    *("-o", "faulthandler_timeout=120"),
)


def harness(name: str) -> ModuleType:
    """A script of the driver's harness, as a module: `wine` or `build`."""
    spec = importlib.util.spec_from_file_location(name, HARNESS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


wine = harness("wine")


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of a package.

    `floor` and `floor_whole` are how many must have passed; `long` are the files that the short run
    leaves out, by the reason.
    """

    package: str
    floor: int
    floor_whole: int
    long: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the tests of a package ended. `text` is what pytest said."""

    package: str
    status: int
    text: str
    counts: Mapping[str, int]

    def __str__(self) -> str:
        told = ", ".join(f"{count} {word}" for word, count in self.counts.items())
        return f"{self.package}: {told or 'nothing was counted'}, exit code {self.status}"


class Windows:
    """A Windows with our packages, up for as long as the block of `windows()` lasts."""

    def __init__(self, up: Any, python: Path, folder: Path) -> None:
        self._up = up
        self._python = python
        self.folder = folder

    def python(
        self, words: Sequence[str], cwd: Path, limit_s: float = SHORT_S, **env: str
    ) -> tuple[int, str]:
        """Run the Windows Python there: its exit code, and what it wrote on stdout and stderr."""
        storage = wine.spelled(self.folder / "examples")
        more = {
            "HYPOTHESIS_STORAGE_DIRECTORY": storage,
            "CI": "true",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "",
            **env,
        }
        ended = self._up.python(self._python, words, [], env=more, cwd=cwd, limit_s=limit_s)
        return ended.returncode, ended.stdout

    def sashizu(self, *words: str, cwd: Path, **env: str) -> tuple[int, str]:
        """Run the command `sashizu`."""
        return self.python(["-c", PROGRAM, *words], cwd, **env)

    def sashizu_on_pipes(self, *words: str, **env: str) -> tuple[list[str], dict[str, str]]:
        """The words and the environment that start the command `sashizu` for who talks to it."""
        return self._up.on_pipes(self._python, ["-c", PROGRAM, *words], env)  # type: ignore[no-any-return]

    def tests(self, suite: Suite, *, whole: bool, more: Sequence[str] = ()) -> Outcome:
        """Run the tests of a package; `more` are words for pytest, in place of the folder too."""
        folder = f"packages/{suite.package}/tests"
        out = [] if whole else [f"--ignore={folder}/{name}" for name in sum_of(suite.long)]
        where = [] if any("::" in word or word.endswith(".py") for word in more) else [folder]
        try:
            status, text = self.python(
                [*_PYTEST, *out, *where, *more], ROOT, WHOLE_S if whole else SHORT_S
            )
        except TimeoutExpired as error:
            return Outcome(suite.package, -1, f"{error}", {})
        counted = [line for line in text.splitlines() if line.startswith(TOLD)]
        counts = json.loads(counted[-1].removeprefix(TOLD)) if counted else {}
        return Outcome(suite.package, status, text, counts)


def sum_of(table: Mapping[str, Sequence[str]]) -> list[str]:
    """All names in a table of reasons."""
    return [name for names in table.values() for name in names]


def missing() -> str:
    """What is not there, as a sentence; empty if all is."""
    return str(wine.missing(PYTHON))


@contextmanager
def windows(folder: Path) -> Iterator[Windows]:
    """A Windows in this folder, which is new.

    Raises:
        RuntimeError, CalledProcessError: Wine or the packages cannot be had.
    """
    python = put_together(PYTHON, folder)
    with wine.Wine(folder) as up:
        up.is_windows_10()
        yield Windows(up, python, folder)


_STARTS = "starts a program for each test, and each takes seconds under Wine"
_READS = "what it tests reads or packs what is written, and takes minutes under Wine"

SUITES = (  # the longest first
    Suite("core", 2000, 2000),
    Suite(
        "audit",
        220,
        500,
        {
            _STARTS: ["test_asked_by_others.py", "test_jail.py", "test_shipping.py"],
            _READS: [
                *("test_audit_cli.py", "test_copies.py", "test_export.py", "test_importing.py"),
                *("test_live_traces.py", "test_manipulations.py", "test_otlp.py"),
                *("test_payloads.py", "test_prometheus.py", "test_pruning.py"),
                *("test_questions.py", "test_redacting.py", "test_second_opinion.py"),
                *("test_sql_script.py", "test_sql_verifier.py", "test_upkeep.py"),
            ],
        },
    ),
    Suite("cli", 350, 400, {_STARTS: ["test_front.py"]}),
    Suite("budget", 650, 690, {_STARTS: ["test_leases_crash.py", "test_windows_crash.py"]}),
    Suite("offline", 130, 170, {_STARTS: ["test_derive.py", "test_derived_file.py"]}),
)
