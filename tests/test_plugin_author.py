"""The way of somebody who writes a plugin: their wheel beside ours, their suites, their model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = [ROOT / "examples/sashizu-echo-model", ROOT / "examples/sashizu-toy-device"]


def run(
    *words: str | Path, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        words, cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.returncode == 0, f"{words}:\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    return ran


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_passes_its_suites(example: Path):
    run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
        cwd=example,
        env={**os.environ, "PYTHONPATH": str(example / "src"), "PYTEST_ADDOPTS": ""},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with our wheels and the examples', and nothing of the checkout."""
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "no uv: run the tests with `uv run pytest`"
    place = tmp_path_factory.mktemp("author")
    dist = place / "dist"
    run(uv, "build", "-q", "--all-packages", "--wheel", "--out-dir", dist, cwd=ROOT)
    for example in EXAMPLES:
        run(uv, "build", "-q", "--wheel", "--out-dir", dist, example, cwd=place)
    run(uv, "venv", "-q", "--python", sys.executable, place / "venv", cwd=place)
    run(
        *(uv, "pip", "install", "-q", "--python", place / "venv/bin/python"),
        *(f"--find-links={dist}", "sashizu[gpu]"),
        *(f"{example.name}[test]" for example in EXAMPLES),
        cwd=place,
    )
    for example in EXAMPLES:
        shutil.copytree(example / "tests", place / "tests", dirs_exist_ok=True)
    (place / "work").mkdir()
    return place


@pytest.fixture
def env(place: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{place / 'venv/bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SASHIZU_HOME": str(tmp_path / "state"),
        "LANG": "C.UTF-8",
    }


@pytest.mark.network
def test_the_examples_wheels_pass_the_suites_in_a_clean_environment(
    place: Path, env: dict[str, str]
):
    ran = run(
        *("python", "-P", "-m", "pytest", "-q", "-p", "anyio", "-o", "anyio_mode=auto", "tests"),
        cwd=place,
        env=env,
    )
    assert " passed" in ran.stdout


@pytest.mark.network
def test_the_examples_model_does_the_work_of_an_agent(place: Path, env: dict[str, str]):
    ran = run(
        *("sashizu", "delegate", "general", "--model", "echo/x", "--goal", "good morning"),
        cwd=place / "work",
        env=env,
    )
    assert "good morning" in ran.stdout


@pytest.mark.network
def test_the_example_is_listed_and_can_be_left_out(place: Path, env: dict[str, str]):
    listed = run("sashizu", "plugins", "list", cwd=place / "work", env=env).stdout
    assert "sashizu-echo-model 0.1.0" in listed
    models = run("sashizu", "models", "list", cwd=place / "work", env=env).stdout
    assert "echo/*" in models
    without = {**env, "SASHIZU_DISABLE": "echo"}
    models = run("sashizu", "models", "list", cwd=place / "work", env=without).stdout
    assert "echo/*" not in models


@pytest.mark.network
def test_the_examples_device_is_told_beside_ours(place: Path, env: dict[str, str], tmp_path: Path):
    (tmp_path / "toys").write_text("left 40 1024 4096\nright - 0 4096\n")
    words = ("sashizu", "-c", f"toy.file={tmp_path / 'toys'}", "gpu")
    listed = run(*words, "list", cwd=place / "work", env=env).stdout
    assert "toy-left: Toy left, toys npu, unknown memory" in listed
    assert "backend nvml: " in listed or "nvidia gpu" in listed
    stats = run(*words, "stats", "toy-right", cwd=place / "work", env=env).stdout
    assert "  busy_percent: unknown: the toy does not tell it" in stats
    assert "  memory_total_bytes: 4.0 KiB (toy)" in stats
