"""Every test that the manual names as a proof is a test, and every row of its tables names one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"tests-of-the-record": 35, "tests-of-failures": 18}


def rows_of(page: str) -> list[list[str]]:
    text = (ROOT / f"docs/reference/{page}.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS = [pytest.param(row[-1], id=f"{page}-{row[0]}") for page in PAGES for row in rows_of(page)]


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / file if "/" in file else ROOT / "packages/audit/tests" / file
    tree = ast.parse(path.read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


@pytest.mark.parametrize("page", PAGES)
def test_the_rows_are_numbered_without_a_gap(page: str) -> None:
    assert [int(row[0]) for row in rows_of(page)] == list(range(1, PAGES[page] + 1))


@pytest.mark.parametrize("proof", ROWS)
def test_every_named_test_exists(proof: str) -> None:
    named = re.findall(r"`([^`]+\.py)::(test_\w+)`", proof)
    assert named or proof.startswith("not tried: ")
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(file)] == []
    assert proof.count("::") == len(named)
