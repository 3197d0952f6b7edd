"""Packs this Python, with what some test files import, for a guest: each file at its own path."""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# Runs the tests here, where they fail for want of a driver, and prints what was loaded for it.
LOADED = """
import contextlib, io, json, pathlib, sys
import pytest
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    code = pytest.main(sys.argv[1:])
files = {getattr(one, "__file__", None) for one in list(sys.modules.values())}
print(json.dumps([int(code), sorted(file for file in files if file)]))
"""
RUN = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
ALONE = (
    *("-q", "-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null"),
    "--import-mode=importlib",
    *("-W", "error", "-W", "ignore::pytest.PytestUnknownMarkWarning"),  # plugins stay outside
)
SHARED = Path(__file__).resolve().parent.parent / "tests"  # what the tests of all drivers share
QUIET = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def command(words: Sequence[str]) -> str:
    """What runs this Python with these words in the guest."""
    settings = " ".join(f"{name}={value}" for name, value in QUIET.items())
    path = os.pathsep.join([str(SHARED), *(one for one in sys.path if Path(one or "-").is_dir())])
    program = shlex.join([str(_python()), *words])
    return f"env {settings} PYTHONPATH={path} PYTHONHOME={sys.base_prefix} {program}"


def pytest_command(tests: Sequence[Path]) -> str:
    """What runs these test files in the guest."""
    return command(["-c", RUN, *ALONE, *map(str, tests)])


def packed(tests: Sequence[Path], more: Sequence[Path], compiled: Path) -> dict[str, Path]:
    """The files for `guest.boot`; compiled modules are written below `compiled`.

    `more` are programs that need nothing but what the tests need, and argparse.

    Raises:
        RuntimeError: the tests cannot even be collected here.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *ALONE, *map(str, tests)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET, "PYTHONPATH": str(SHARED)},
    )
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    if code not in (0, 1):
        raise RuntimeError(f"pytest ended with {code} on {', '.join(map(str, tests))}")
    files = {str(path)[1:]: path for path in (_python(), *tests, *more)}
    for name in (*loaded, *_encodings()):
        files[name[1:]] = Path(name)
        if name.endswith(".py"):
            cached = importlib.util.cache_from_source(name)
            target = compiled / cached[1:]
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # times are lost on the way
            py_compile.compile(name, str(target), invalidation_mode=mode, doraise=True)
            files[cached[1:]] = target
    binaries = [path for name, path in files.items() if ".so" in name or path == _python()]
    for library in _libraries(binaries):
        files[str(library)[1:]] = library
    return files


def _python() -> Path:
    return Path(sys.executable).resolve()


def _encodings() -> Iterator[str]:
    for name in ("encodings.ascii", "encodings.latin_1", "encodings.idna", "encodings.cp437"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            yield spec.origin


def _libraries(binaries: Sequence[Path]) -> set[Path]:
    found = subprocess.run(
        ["ldd", *map(str, binaries)], check=True, capture_output=True, text=True
    ).stdout
    return {Path(name) for name in re.findall(r"(?:=> |^\s)(/\S+) \(0x", found, re.MULTILINE)}
