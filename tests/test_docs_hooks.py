"""The reference of hooks says what the hookspecs say: every hook, argument, spec and field."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from sashizu_core import hookspecs, specs

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/hooks.md"
HOOKS = {
    name: value
    for name, value in vars(hookspecs).items()
    if inspect.isfunction(value) and hasattr(value, f"{hookspecs.GROUP}_spec")
}


def sections() -> dict[str, str]:
    """The text below each heading that names a hook, by its signature."""
    parts = re.split(r"^## `(.+)`$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str, head: str) -> list[str]:
    """The first cells of the table with that head."""
    table = re.search(rf"^\| {head} \|.*\n\| --- \|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE) if table else []


def returned(hook: object) -> str:
    """The name of the spec that a hook returns."""
    found = re.search(r"\w+Spec|AgentSource", str(inspect.signature(hook).return_annotation))
    assert found
    return found[0]


def test_every_hook_has_its_section_with_its_arguments():
    signatures = [
        f"{name}({', '.join(inspect.signature(hook).parameters)})" for name, hook in HOOKS.items()
    ]
    assert sorted(sections()) == sorted(signatures)


def test_every_argument_is_explained():
    arguments = {arg for hook in HOOKS.values() for arg in inspect.signature(hook).parameters}
    assert set(rows(PAGE.read_text("utf-8"), "argument")) == arguments


@pytest.mark.parametrize("name", HOOKS)
def test_what_a_hook_returns_is_named_with_every_field(name):
    (text,) = [text for head, text in sections().items() if head.startswith(f"{name}(")]
    spec = returned(HOOKS[name])
    fields = [field.name for field in dataclasses.fields(getattr(specs, spec))]
    assert rows(text, f"`{spec}`") == fields


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_says_how_to_write_one_and_how_it_answers(name):
    (text,) = [text for head, text in sections().items() if head.startswith(f"{name}(")]
    (guide,) = re.findall(r"\]\((\.\./how-to/[\w-]+\.md)\)", text)
    assert (PAGE.parent / guide).is_file()
    assert f"`{returned(HOOKS[name])}`" in text
    assert HOOKS[name].sashizu_spec["firstresult"] == ("first answer" in text)
