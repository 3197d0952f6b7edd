"""What every member of the workspace has in common."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
WITH_CODE = [member for member in MEMBERS if member.name != "all"]
TOP_LEVEL = {
    *(
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.ja.md",
        "README.md",
        "conftest.py",
    ),
    *(
        "benchmarks",
        "docs",
        "examples",
        "packages",
        "pyproject.toml",
        "scripts",
        "tests",
        "uv.lock",
    ),
}
HEAVY = {"aiohttp", "anyio", "asyncio", "duckdb", "openai", "pydantic", "rich", "typer"}


def project(member: Path) -> dict[str, Any]:
    return tomllib.loads((member / "pyproject.toml").read_text("utf-8"))["project"]


def module(member: Path) -> str:
    return f"sashizu_{member.name.replace('-', '_')}"


def wanted(member: Path) -> list[str]:
    found = project(member)
    extras = found.get("optional-dependencies", {}).values()
    return [*found["dependencies"], *(name for extra in extras for name in extra)]


def each(members: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("member", members, ids=lambda member: member.name)


VERSION = project(ROOT / "packages/core")["version"]


@each(MEMBERS)
def test_all_members_carry_one_version(member):
    assert project(member)["version"] == VERSION


@each(MEMBERS)
def test_members_ask_for_each_other_by_minor_version(member):
    minor = VERSION.rsplit(".", 1)[0] + ".0"

    ours = [need for need in wanted(member) if need.startswith("sashizu")]

    assert all(need.endswith(f"~={minor}") for need in ours)


@each(WITH_CODE)
def test_modules_that_tell_their_version_tell_that_of_the_package(member):
    assert getattr(import_module(module(member)), "__version__", VERSION) == VERSION


@each(MEMBERS)
def test_a_member_has_a_readme_and_the_license(member):
    found = project(member)

    assert found["name"] in (member / "README.md").read_text("utf-8")
    assert (member / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert found["license"] == "Apache-2.0"
    assert found["requires-python"] == ">=3.11"


@each(WITH_CODE)
def test_a_member_is_typed_and_tested(member):
    assert (member / "src" / module(member) / "py.typed").is_file()
    assert list((member / "tests").glob("**/test_*.py"))


@each(WITH_CODE)
def test_a_member_offers_its_plugin_module_and_nothing_else(member):
    expected = {"core": "sashizu_core.builtin.plugin", "cli": None}.get(
        member.name, f"{module(member)}.plugin"
    )

    offered = project(member).get("entry-points", {}).get("sashizu", {})

    assert list(offered.values()) == ([expected] if expected else [])
    assert all(entry.load() for entry in entry_points(group="sashizu", name=member.name))


@each(WITH_CODE)
def test_no_member_knows_a_sibling(member):
    names = {re.split(r"[\[~]", need)[0] for need in wanted(member)}

    assert {name for name in names if name.startswith("sashizu")} <= {"sashizu-core"}


@each(WITH_CODE)
def test_importing_a_member_is_cheap(member):
    code = f"import sys, {module(member)}; print(*sys.modules)"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not HEAVY.intersection(run.stdout.split())


def test_the_set_brings_every_member():
    names = {project(member)["name"] for member in WITH_CODE}

    brought = {re.split(r"[\[~]", need)[0] for need in wanted(ROOT / "packages/all")}

    assert brought == names


def test_the_changes_of_this_version_are_written_down():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")

    newest = re.search(r"^## (\S+)", text, re.MULTILINE)

    assert newest is not None
    assert newest[1] == VERSION
    body = text[newest.end() :].split("\n## ")[0]
    assert "\n- " in body


def test_the_top_level_holds_what_a_newcomer_expects_and_nothing_else():
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")

    assert {name.split("/")[0] for name in tracked if name} == TOP_LEVEL
