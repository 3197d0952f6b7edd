"""The guides for authors of plugins: every file they show is written, and their tests pass."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sashizu_core.agents import read_agent_text

ROOT = Path(__file__).resolve().parent.parent
GUIDES = sorted(ROOT.glob("docs/how-to/write-a*-plugin.md"))
BLOCK = re.compile(r"^```(python|toml|yaml)\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ANY_BLOCK = re.compile(r"^```(?:python|toml|yaml)\n", re.MULTILINE)
KINDS = {
    *("model", "tool", "policy", "sink", "agents", "command", "budget", "executor"),
    *("admission", "device", "host", "isolation", "sandbox"),
}


def files(guide: Path) -> dict[str, str]:
    return {path: text for _, path, text in BLOCK.findall(guide.read_text("utf-8"))}


def each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)


def test_there_is_a_guide_for_every_kind():
    assert {re.sub(r"write-an?-|-plugin", "", guide.stem) for guide in GUIDES} == KINDS


@each()
def test_every_block_of_a_guide_is_a_file_of_its_plugin(guide):
    shown = files(guide)
    assert len(shown) == len(ANY_BLOCK.findall(guide.read_text("utf-8")))
    assert [path for path in shown if path.endswith("/plugin.py")]
    assert [path for path in shown if path.startswith("tests/")]


@each()
def test_what_a_guide_announces_is_what_it_shows(guide):
    shown = files(guide)
    for path, text in shown.items():
        if path == "pyproject.toml":
            project = tomllib.loads(text)["project"]
            for target in project["entry-points"]["sashizu"].values():
                assert f"src/{target.replace('.', '/')}.py" in shown
        if path.endswith(".yaml"):
            assert read_agent_text(text, Path(path))[1] == ()


def test_the_plugins_of_all_guides_pass_their_tests(tmp_path):
    places = [tmp_path / guide.stem for guide in GUIDES]
    for guide, place in zip(GUIDES, places, strict=True):
        for path, text in files(guide).items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", tmp_path),
            *("--import-mode=importlib", "-p", "anyio", "-o", "anyio_mode=auto", "-W", "error"),
            *("-p", "no:cacheprovider", *(place / "tests" for place in places)),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(place / "src") for place in places),
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
