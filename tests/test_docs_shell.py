"""The page about the shell says what the tables and the schema say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sashizu_sandbox.shell.output import HEAD_CHARACTERS, TAIL_CHARACTERS
from sashizu_sandbox.shell.tables import TABLES
from sashizu_sandbox.shell.tables.git import GIT
from sashizu_sandbox.shell.tool import MAX_TIMEOUT_S, TIMEOUT_S, Shell

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "shell.md").read_text("utf-8")
CORPUS = ROOT / "packages" / "sandbox" / "tests" / "shell_corpus"


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def names(text: str) -> set[str]:
    """The names of a list of names, and nothing else that is set as code."""
    lists = re.findall(r"(?:`[^`\n]+`,\s){4,}`[^`\n]+`", text)
    return {name for found in lists for name in re.findall(r"`([^`]+)`", found)}


def test_the_arguments_are_those_of_the_schema() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == list(Shell().schema.parameters["properties"])
    assert f"up to {MAX_TIMEOUT_S:,.0f} | seconds until it is ended; {TIMEOUT_S:.0f} |" in PAGE
    kept = f"first {HEAD_CHARACTERS // 1024} KiB and the last {TAIL_CHARACTERS // 1024} KiB"
    assert kept in PAGE


def test_every_program_stands_where_it_belongs() -> None:
    never = {name for name, table in TABLES.items() if table.never}
    code = {name for name, table in TABLES.items() if table.any_code}
    assert names(section("Any code")) == code
    subcommands = {name for name, table in GIT.subcommands.items() if table.never}
    assert names(section("What never runs")) == never | subcommands
    asked = {name for name in names(section("What is asked for")) if " " not in name}
    assert asked == (set(TABLES) - never - code) | (set(GIT.subcommands) - subcommands)


def test_the_numbers_are_those_of_the_collections() -> None:
    for file in ("attacks.toml", "harmless.toml"):
        sources = tomllib.loads((CORPUS / file).read_text("utf-8"))["source"]
        public = sum(len(source["commands"]) for source in sources if source["registry"])
        total = sum(len(source["commands"]) for source in sources)
        assert f"({public}), and our own ({total - public}) | {total} |" in PAGE
