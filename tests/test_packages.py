"""What every member of the workspace has in common."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
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


def copied(pattern: str, folder: Path) -> None:
    for path in ROOT.glob(pattern):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


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


def test_a_new_version_reaches_every_place_that_names_one(tmp_path, monkeypatch):
    """What `scripts/bump` writes; what it has to leave alone is not looked at."""
    for pattern in ("packages/*/pyproject.toml", "packages/*/src/*/__init__.py"):
        copied(pattern, tmp_path)
    places = ("docs/reference/driver.md", "packages/gpu-driver/native/windows/sashizu.inf")
    for path in (*places, "CHANGELOG.md"):
        copied(path, tmp_path)
    loader = SourceFileLoader("bump", str(ROOT / "scripts" / "bump"))
    bump = module_from_spec(spec_from_loader("bump", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(bump)
    monkeypatch.setattr(bump, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bump", "7.8.9"])
    monkeypatch.setenv("UV", "true")  # nothing to lock here

    bump.main()

    found = re.findall(r"\bsashizu[-/](\d[\w.]*\d)", (tmp_path / places[0]).read_text("utf-8"))
    assert len(found) >= 5
    assert set(found) == {"7.8.9"}
    assert re.search(
        r"^DriverVer = .*,7\.8\.9\.0$", (tmp_path / places[1]).read_text(), re.MULTILINE
    )
    for member in sorted(tmp_path.glob("packages/*/pyproject.toml")):
        assert project(member.parent)["version"] == "7.8.9"
        assert all("~=7.8.0" in need for need in wanted(member.parent) if "sashizu" in need)
    telling = [path.read_text() for path in tmp_path.glob("packages/*/src/*/__init__.py")]
    assert {
        line for text in telling for line in re.findall("^__version__ = .*", text, re.MULTILINE)
    } == {'__version__ = "7.8.9"'}
    assert "\n## 7.8.9 - 20" in (tmp_path / "CHANGELOG.md").read_text("utf-8")


def test_the_manual_names_the_driver_of_this_version():
    text = (ROOT / "docs" / "reference" / "driver.md").read_text("utf-8")
    assert set(re.findall(r"\bsashizu[-/](\d[\w.]*\d)", text)) == {VERSION}


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
