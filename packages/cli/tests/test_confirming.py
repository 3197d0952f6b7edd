"""A run is shown and asked about before it begins, once, where that is wanted."""

from __future__ import annotations

import pytest
from sashizu_cli import keyboard
from sashizu_cli.execution import RunRequest, execute
from sashizu_core.errors import UsageError
from sashizu_core.settings import load_settings
from sashizu_core.types import Task


@pytest.fixture
def person(monkeypatch):
    """Somebody at the terminal who types this line."""

    def sit_down(line):
        monkeypatch.setattr(keyboard, "somebody_there", lambda: True)
        monkeypatch.setattr(keyboard, "forget_typed", lambda: None)
        monkeypatch.setattr(keyboard, "typed_line", lambda: line)

    return sit_down


@pytest.fixture(autouse=True)
def _nobody(monkeypatch):
    monkeypatch.setattr(keyboard, "somebody_there", lambda: False)


def answers(world):
    return [
        (event.fields["status"], event.fields["attrs"]["by"])
        for event in world.sink.events
        if event.kind == "run.confirmed"
    ]


def test_without_a_terminal_a_plan_is_printed_and_nothing_is_run(world, capfd):
    code = execute(RunRequest([Task("alpha"), Task("beta")], plan=True), world.session("never"))

    out, err = capfd.readouterr()
    assert code == 0
    assert out.startswith("# plan\n\n- alpha: fake/scripted: Say what there is.\n  tools: none\n")
    assert "- beta: fake/scripted: " in out
    assert "- all together\n" in out
    assert "nothing was run: say --yes to run it" in err
    assert world.sink.kinds() == ["run.planned", "run.confirmed"]
    assert answers(world) == [("denied", "nobody")]


@pytest.mark.parametrize("typed", ["", "n", "no", "yep"])
def test_whoever_does_not_say_yes_has_nothing_run(world, capfd, person, typed):
    person(typed)

    assert execute(RunRequest([Task("alpha")], plan=True), world.session("never")) == 0

    assert "Run this agent? [y/N]" in capfd.readouterr().err
    assert answers(world) == [("denied", "terminal")]
    assert world.sink.kinds().count("run.started") == 0


@pytest.mark.parametrize("typed", ["y", "YES"])
def test_whoever_says_yes_has_it_run_as_it_was_planned(world, capfd, person, typed):
    person(typed)

    assert execute(RunRequest([Task("alpha")], plan=True), world.session("Well.")) == 0

    assert "# alpha: answered" in capfd.readouterr().out
    assert answers(world) == [("ok", "terminal")]
    assert world.sink.kinds()[:3] == ["run.planned", "run.confirmed", "run.started"]
    assert len({event.fields["run_id"] for event in world.sink.events}) == 1


def test_yes_beforehand_shows_the_plan_and_asks_nobody(world, capfd):
    request = RunRequest([Task("alpha")], plan=True, yes=True)

    assert execute(request, world.session("Well.")) == 0

    out, err = capfd.readouterr()
    assert out.index("# plan") < out.index("# alpha: answered")
    assert "[y/N]" not in err
    assert answers(world) == [("ok", "flag")]


def test_events_on_stdout_leave_the_plan_to_stderr(world, capfd):
    request = RunRequest([Task("alpha")], plan=True, as_json=True)

    execute(request, world.session("never"))

    out, err = capfd.readouterr()
    assert out == ""
    assert "# plan" in err


def test_what_nothing_bounds_is_above_every_threshold(world, capfd):
    request = RunRequest([Task("alpha")], confirm_above="1usd")

    with pytest.raises(UsageError) as caught:
        execute(request, world.session("never"))

    assert caught.value.exit_code == 2
    assert "more than 1.0000 USD, and nobody is there to be asked" in str(caught.value)
    assert "Say --yes" in str(caught.value)
    assert answers(world) == [("denied", "nobody")]


def test_a_run_below_the_threshold_is_not_asked_about(world, capfd, person):
    person("never asked")
    request = RunRequest([Task("alpha")], deadline_s=30.0, confirm_above="15m")

    assert execute(request, world.session("Well.")) == 0

    assert "plan" not in capfd.readouterr().out
    assert answers(world) == []
    assert world.sink.kinds()[:2] == ["run.planned", "run.started"]


def test_a_run_above_the_threshold_is_shown_and_asked_about(world, capfd, person):
    person("n")
    request = RunRequest([Task("alpha")], deadline_s=3000.0, confirm_above="15m")

    with pytest.raises(UsageError, match="the answer was no"):
        execute(request, world.session("never"))

    err = capfd.readouterr().err
    assert "# plan" in err
    assert "3,000.0 s" in err
    assert "above what needs an answer: 900.0 s" in err


def test_the_setting_counts_where_no_flag_is_given(world):
    session = world.session("Well.")
    session.settings = load_settings(
        world.folder,
        overrides=[*session.overrides, "run.confirm_above=15m"],
        env={},
        config=world.folder / "config",
        plugin_names=(),
    )
    with pytest.raises(UsageError, match="nobody is there"):
        execute(RunRequest([Task("alpha")], deadline_s=3000.0), session)
    request = RunRequest([Task("alpha")], deadline_s=3000.0, confirm_above="2h")
    assert execute(request, session) == 0
    assert execute(RunRequest([Task("alpha")], deadline_s=3000.0, yes=True), session) == 0


@pytest.mark.parametrize("threshold", ["40requests", "3agents", "many", "0"])
def test_a_threshold_that_cannot_be_compared_is_refused(world, threshold):
    with pytest.raises(UsageError, match=r"tokens \(60"):
        execute(RunRequest([Task("alpha")], confirm_above=threshold), world.session("never"))
    assert world.sink.events == []


def test_the_goal_of_a_plan_moves_no_cursor(world, capfd):
    execute(RunRequest([Task("alpha", "a\x1b[2Jb\nc")], plan=True), world.session("never"))

    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 7


def test_commands_take_the_options(cli):
    for words in (["delegate", "alpha", "--plan"], ["delegate-parallel", "alpha,beta", "--plan"]):
        code, out, _ = cli(*words, "--yes", "--confirm-above", "x")
        assert (code, out) == (2, "")
    for words in (["run", "hello there"], ["supervisor", "hello there"]):
        assert cli(*words, "--confirm-above", "40requests")[0] == 2


def test_a_supervised_goal_is_bounded_by_its_limits_alone(cli):
    code, out, err = cli("supervisor", "look around", "--confirm-above", "15m", "--no-audit")
    assert (code, out) == (2, "")
    assert "it may cost as much as its agents take, more than 900.0 s" in err
