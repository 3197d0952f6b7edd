"""Derived tests as a file for pytest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from sashizu_offline.derive.cases import TestCase
from sashizu_offline.visible import visible

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


def _test(case: TestCase, name: str) -> list[str]:
    place = f"    # {visible(case.path)}:{case.line}"
    return [f"def {name}():", place, *(f"    {line}" if line else "" for line in case.lines)]


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
        lines += ["", "", *_test(case, _name(case, seen))]
    return "\n".join([*lines, ""])


test_file.__test__ = False  # type: ignore[attr-defined]  # it makes tests and is none
