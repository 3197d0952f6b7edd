"""The examples as they are, on the real projections, the components and the loaded driver."""

import importlib.util
from pathlib import Path

import pytest
from com import Later

EXAMPLES = Path(__file__).resolve().parents[4] / "examples/winai"


@pytest.fixture
def example(windows, tmp_path, monkeypatch, capsys):
    """Runs one with words: what it printed. Nothing of this machine's settings is read."""
    for name in ("SASHIZU_HOME", "XDG_CONFIG_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(name, *words):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.main(list(words)) == 0
        return capsys.readouterr().out

    return run


def test_actions_of_windows_are_listed_and_one_is_carried_out(example):
    out = example("actions", "demo.upper")
    assert "actions: ready: the runtime of App Actions answers" in out
    assert "action demo.upper: " in out
    assert out.endswith("success, carried out by windows\ntext: A TEXT FOR AN ACTION\n")


def test_an_action_that_fails_is_told_by_its_error(example, windows):
    windows.runtime.add("demo.fails", {"text": "TEXT"}, later=Later(fails=0x80070005))
    assert "Denied: invoke the action 'demo.fails': access is denied" in example(
        "actions", "demo.fails"
    )


def test_the_model_of_windows_answers_piece_by_piece(example, windows):
    out = example("ask_the_model", "What", "is", "it?")
    assert out == "".join(windows.model.pieces) + "\n(stop, carried out by windows)\n"
    assert "What is it?" in windows.model.prompts[0][0]


def test_a_model_that_is_switched_off_is_told_with_the_remedy(example, windows):
    windows.models.state = 3
    out = example("ask_the_model")
    assert out.startswith("denied: the user has switched it off\nswitch it on")
    assert windows.model.prompts == []


def test_an_agent_works_on_the_model_of_windows(example, windows):
    windows.model.pieces = ['{"answer": ', '"An empty folder."}']
    out = example("agent_on_windows", "What is here?")
    assert out == "An empty folder.\nphi-silica was carried out by windows\n"
    assert "What is here?" in windows.model.prompts[0][0]


def test_an_agent_goes_on_offline_where_the_model_is_not_ready(example, windows):
    windows.models.state = 5
    out = example("agent_on_windows")
    assert out.startswith("phi-silica is not ready: this machine has no NPU or GPU")
    assert "carried out by windows" not in out


def test_the_loaded_driver_says_where_to_compute(example):
    out = example("where_to_compute", "1000")
    assert out.splitlines()[-1].startswith("cpu on the processor: ")


def test_every_example_is_run_here():
    written = Path(__file__).read_text("utf-8")
    assert all(f'"{file.stem}"' in written for file in EXAMPLES.glob("*.py"))
