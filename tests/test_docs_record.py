"""Every test that the manual names as a proof of the record is a test, and every row names one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/reference/tests-of-the-record.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d", line)
]


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / file if "/" in file else ROOT / "packages/audit/tests" / file
    tree = ast.parse(path.read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 36))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_named_test_exists(row: list[str]) -> None:
    named = re.findall(r"`([^`]+\.py)::(test_\w+)`", row[2])
    assert named or row[2].startswith("not tried: ")
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(file)] == []
    assert row[2].count("::") == len(named)


def test_every_named_program_exists() -> None:
    programs = re.findall(r"^uv run python (\S+)", PAGE, re.MULTILINE)
    assert programs
    assert all((ROOT / program).is_file() for program in programs)
