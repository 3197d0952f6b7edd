"""The manual speaks of what there is: links, programs, commands."""

import os
import re
import sys
from pathlib import Path

import pytest
from sashizu_cli._help import TEXTS
from sashizu_cli.announced import announced

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])
PAGES = [page for page in PAGES if "_build" not in page.parts]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
RUNS = re.compile(r"^<!-- runs -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MODULE = '''"""Prices."""


def total(prices: list[int]) -> int:
    """Add up.

    >>> total([1, 2])
    3
    """
    return sum(prices)
'''


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        found = page if not target else page.parent / target
        assert found.exists(), link
        if anchor:
            assert anchor in anchors(found), link


PROGRAMS = [
    pytest.param(code, id=f"{name(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(RUNS.findall(page.read_text("utf-8")), 1)
]


@pytest.mark.parametrize("code", PROGRAMS)
def test_every_program_that_is_said_to_run_does(code, tmp_path, warm):
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "prices.py").write_text(MODULE)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "SASHIZU_HOME": str(tmp_path / "state"),
    }

    run = warm.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


def test_agents_are_embedded_in_fifteen_lines():
    page = (ROOT / "docs/how-to/embed.md").read_text("utf-8")

    first = RUNS.findall(page)[0]

    assert len(first.splitlines()) <= 15
    assert "delegate_parallel" in first


def test_every_command_has_a_page():
    commands = {text.split(" ")[0] for text in TEXTS if text}
    commands |= {command.name for command in announced()}
    told = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs/how-to").glob("*.md"))

    untold = {command for command in commands if f"sashizu {command}" not in told}

    assert not untold


def test_the_manual_speaks_only_of_commands_that_exist():
    commands = {text.split(" ")[0] for text in TEXTS if text}
    commands |= {command.name for command in announced()}
    called = {
        word
        for page in PAGES
        for block in FENCE.findall(page.read_text("utf-8"))
        if block.startswith("```sh")
        for word in re.findall(r"^(?:\.uv/bin/uv run )?sashizu ([a-z-]+)", block, re.MULTILINE)
    }

    assert called
    assert called - {"-C", "-c", "-v", "--help", "--version"} <= commands
