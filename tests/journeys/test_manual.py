"""The pages about the command line say what the command line is."""

import re
import shlex
from pathlib import Path

import pytest
from sashizu_cli._help import TEXTS
from sashizu_cli.document import ReportDocument, Result
from sashizu_cli.exits import BUDGET, DEADLINE, DIVERGED, FAILED, INTERRUPTED, OK, USAGE
from sashizu_cli.group import OWN

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "cli.md").read_text("utf-8")
PAGES = sorted((DOCS / "how-to").glob("*.md"))
NAMES = re.compile(r"^ {2,6}(-.*?)(?: {2}|$)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+|-[a-zA-Z])\b")


def options(text: str) -> set[str]:
    return set(OPTION.findall(text))


def test_the_reference_names_every_option_and_no_other():
    real = set().union(
        *(options(names) for text in TEXTS.values() for names in NAMES.findall(text))
    )
    ours = re.sub(r"^## The record\n.*?(?=^## )", "", REFERENCE, flags=re.MULTILINE | re.DOTALL)
    told = options("\n".join(re.findall(r"`([^`\n]+)`", ours)))

    assert told == real


@pytest.mark.parametrize("name", OWN)
def test_every_command_has_a_page_that_the_reference_leads_to(name):
    page = DOCS / "how-to" / f"{name}.md"

    assert f"(../how-to/{name}.md)" in REFERENCE
    assert f"sashizu {name}" in page.read_text("utf-8")


def test_the_reference_names_every_key_of_the_report():
    table = REFERENCE.split("## The file of `-o`")[1].split("\n## ")[0]
    told = set()
    for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE):
        names = re.findall(r"`([^`]+)`", cell)
        told |= {f"results[]{n}" if n.startswith(".") else n for n in names}
    real = set(ReportDocument.model_fields) | {f"results[].{n}" for n in Result.model_fields}
    assert told == real


def test_the_reference_names_every_exit_code():
    rows = [int(code) for code in re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)]

    assert rows == [OK, FAILED, USAGE, BUDGET, DIVERGED, DEADLINE, INTERRUPTED]


def commands(page: Path) -> list[list[str]]:
    """The words after `sashizu` in the shell blocks of a page."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "sashizu" in words:
                words = words[words.index("sashizu") + 1 :]
                end = next((i for i, word in enumerate(words) if re.match(r"[|>]|2>", word)), None)
                found.append(words[:end])
    return found


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda page: page.stem)
def test_every_option_in_an_example_exists(page):
    for words in commands(page):
        names = [word for word in words if not word.startswith("-")]
        known = TEXTS.get(" ".join(names[:2])) or TEXTS.get(names[0] if names else "")
        if known is None:
            continue  # a prompt, or the command of another package
        for word in words:
            if re.fullmatch(r"--[a-z-]+|-[a-zA-Z]", word):
                assert word in options(known), f"{word} in: sashizu {shlex.join(words)}"
