"""Derived tests as a file for pytest."""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from sashizu_offline.derive.cases import TestCase

__all__ = ["test_file"]


def _back(path: str, root: str) -> str:
    """The folder `root` of the workspace as seen from a test file at `path`, as an expression."""
    up = len(PurePosixPath(path).parts) - 1
    here = f"Path(__file__).resolve().parents[{up}]"
    return here if root in (".", "") else f"{here} / {root!r}"


def _name(case: TestCase, seen: Counter[str]) -> str:
    function = re.sub(r"\W+", "_", case.function)
    ending = {
        "example": "does_what_its_example_says",
        "constant": "returns_its_constant",
        "raises": "refuses_what_it_says",
    }[case.kind]
    name = f"test_{function}_{ending}"
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}_{seen[name]}"


def _needed(lines: Sequence[str]) -> list[str]:
    """The names of the module that the lines use."""
    used: set[str] = set()
    bound: set[str] = {"pytest"}
    for node in ast.walk(ast.parse("\n".join(lines))):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                bound.add(name)
            case _:
                pass
    return sorted(name for name in used - bound if not hasattr(builtins, name))


def _body(case: TestCase) -> list[str]:
    """Imports inside the test: a module that fails to import fails its own tests alone."""
    imported = f"from {case.module} import {', '.join(_needed(case.lines))}"
    return [f"    {line}" if line else "" for line in (imported, "", *case.lines)]


def test_file(path: str, cases: Sequence[TestCase], mark: str) -> str:
    """The text of a test file that lies at `path` of the workspace.

    It puts the roots of the tested modules on the import path, so that it runs from anywhere.
    """
    lines = [f'"""{mark}"""', ""]
    if not cases:
        return "\n".join([*lines, "# No test could be derived; the report says why.", ""])
    roots = list(dict.fromkeys(case.root for case in cases))
    lines += ["import sys", "from pathlib import Path", ""]
    if any("pytest." in line for case in cases for line in case.lines):
        lines += ["import pytest", ""]
    lines += [f"sys.path.insert(0, str({_back(path, root)}))" for root in roots]
    seen: Counter[str] = Counter()
    for case in cases:
        place = f"    # {case.path}:{case.line}"
        lines += ["", "", f"def {_name(case, seen)}():", place, *_body(case)]
    return "\n".join([*lines, ""])


test_file.__test__ = False  # type: ignore[attr-defined]  # it makes tests and is none
