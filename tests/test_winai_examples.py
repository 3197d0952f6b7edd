"""The examples run everywhere: over the fake, and where Windows AI is missing they say why."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "winai"


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def run(name, *words):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.main(list(words)) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["actions", "--fake"], ["actions: ready", "action fake.echo", "success, carried out by"]),
        (["actions", "--fake", "no.such"], ["Missing: invoke the action 'no.such'"]),
        (["actions"], ["actions: unsupported: App Actions are part of Windows 11"]),
        (["ask_the_model", "--fake", "Hello?"], ["Hello?", "(stop, carried out by fake)"]),
        (["ask_the_model"], ["unsupported: the on-device language model", "use Windows 11"]),
        (["where_to_compute", "1000"], ["missing: register with the driver: "]),
        (["agent_on_windows", "--fake"], ["phi-silica was carried out by fake"]),
        (["agent_on_windows"], ["phi-silica is not ready", "no language model was used"]),
    ],
    ids=" ".join,
)
@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has what these tests miss")
def test_an_example_shows_what_there_is_or_why_there_is_nothing(example, words, told):
    out = example(*words)
    for each in told:
        assert each in out


def test_the_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"`{file.name}`" in text for file in EXAMPLES.glob("*.py"))
