"""The front pages: equal commands, and commands that a stranger can type."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUP = "python3 -m pip install -q --target .uv uv && .uv/bin/uv run "
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text("utf-8"))


def headings(name: str) -> list[int]:
    text = BLOCK.sub("", (ROOT / name).read_text("utf-8"))
    return [len(found) for found in re.findall(r"^(#+) ", text, re.MULTILINE)]


def test_the_japanese_page_gives_the_same_code():
    assert blocks("README.ja.md") == blocks("README.md")


def test_the_japanese_page_has_the_same_parts():
    assert headings("README.ja.md") == headings("README.md")


def test_two_commands_do_everything_in_a_fresh_clone():
    commands = [text for _, text in blocks("README.md") if text.startswith(SETUP)]

    assert commands == [
        f"{SETUP}sashizu delegate-parallel code-reviewer,sec-audit,test-gen --scope .\n",
        f"{SETUP}pytest\n",
    ]


def test_every_package_is_on_the_front_page():
    members = {file.parent.name for file in ROOT.glob("packages/*/pyproject.toml")}
    names = {"sashizu" if name == "all" else f"sashizu-{name}" for name in members}

    text = (ROOT / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(sashizu[a-z-]*)` \|", text, re.MULTILINE))

    assert listed == names
