import json
import signal
from pathlib import Path

import pytest
from sashizu_cli.document import ReportDocument
from sashizu_cli.execution import RunRequest, execute
from sashizu_core.errors import MissingPackage, ModelError, SashizuError, UsageError
from sashizu_core.types import Limits, Task


def fault(kind: str = "connect") -> ModelError:
    return ModelError("nothing listens at 127.0.0.1:9", fault=kind)


def test_a_run_prints_its_report_and_writes_the_file(world, capfd):
    request = RunRequest([Task("alpha"), Task("beta"), Task("alpha")], out=world.folder / "r.json")

    code = execute(request, world.session("All is well."))

    out, err = capfd.readouterr()
    written = ReportDocument.model_validate_json((world.folder / "r.json").read_text(), strict=True)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("# ")] == [
        "# alpha: answered",
        "# beta: answered",
        "# alpha: answered",
    ]
    assert written.requested_agents == ("alpha", "beta", "alpha")
    assert len({result.agent_id for result in written.results}) == 3
    assert (written.success_count, written.total_count) == (3, 3)
    assert err.count("started") == 3


def test_an_agent_that_fails_makes_the_exit_code_1_and_is_told_on_stderr(world, capfd):
    code = execute(RunRequest([Task("alpha")]), world.session(fault("auth")))

    out, err = capfd.readouterr()
    assert code == 1
    assert "# alpha: model failed" in out
    assert "sashizu: error: alpha: auth: nothing listens at 127.0.0.1:9" in err
    assert "0 of 1 agents succeeded" in out


def test_a_deadline_makes_the_exit_code_124_and_still_writes_the_report(world, capfd):
    request = RunRequest([Task("alpha")], deadline_s=0.05, out=world.folder / "r.json")

    code = execute(request, world.session("late", latency_s=30))

    document = ReportDocument.model_validate_json((world.folder / "r.json").read_text())
    assert code == 124
    assert document.results[0].outcome == "deadline"
    assert "# alpha: deadline" in capfd.readouterr().out


def test_one_interrupt_ends_the_run_with_reports_and_records(world, capfd):
    session = world.session("late", latency_s=30)
    keep = world.sink.write

    def keep_and_interrupt(events):
        keep(events)
        if [event.kind for event in events] == ["model.requested"] and not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGINT)

    interrupted: list[bool] = []
    world.sink.write = keep_and_interrupt
    code = execute(RunRequest([Task("alpha"), Task("beta")], out=world.folder / "r.json"), session)

    document = ReportDocument.model_validate_json((world.folder / "r.json").read_text())
    assert interrupted
    assert code == 130
    assert {result.outcome for result in document.results} == {"cancelled"}
    assert world.sink.kinds().count("agent.ended") == 2
    assert world.sink.kinds()[-1] == "run.ended"
    assert "interrupted: ending with reports" in capfd.readouterr().err


def test_events_are_json_lines_on_stdout_and_all_else_is_on_stderr(world, capfd):
    request = RunRequest([Task("alpha")], as_json=True)

    execute(request, world.session("Hello."))

    out, err = capfd.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["kind"] == "run.started"
    assert events[-1]["kind"] == "run.ended"
    assert {event["run_id"] for event in events} == {events[0]["run_id"]}
    assert "# alpha: answered" in err
    assert "Hello." in err


def test_the_answer_to_a_prompt_is_all_there_is_on_stdout(world, capfd):
    request = RunRequest([Task("general", "What?")], only_answer=True)

    assert execute(request, world.session("Forty-two.")) == 0

    assert capfd.readouterr().out == "Forty-two.\n"


def test_an_output_that_cannot_be_written_stops_before_anything_runs(world):
    with pytest.raises(UsageError, match="is a folder"):
        execute(RunRequest([Task("alpha")], out=world.folder), world.session("never"))

    assert world.sink.events == []


def test_a_budget_without_its_package_stops_before_anything_runs(world):
    request = RunRequest([Task("alpha")], budget=Limits(tokens=1000))

    with pytest.raises((MissingPackage, BaseExceptionGroup)) as caught:
        execute(request, world.session("never"))

    assert "pip install sashizu-budget" in str(_only(caught.value))
    assert world.sink.kinds().count("model.requested") == 0


def test_a_run_without_a_durable_record_is_refused_unless_said(world, capfd):
    session = world.session("Hi.")
    world.sink.persistent = False

    with pytest.raises((MissingPackage, BaseExceptionGroup)) as caught:
        execute(RunRequest([Task("alpha")]), session)
    assert "sashizu-audit" in str(_only(caught.value))
    assert "--no-audit" in str(_only(caught.value))

    assert execute(RunRequest([Task("alpha")], audit=False), session) == 0


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


def test_a_conversation_goes_on(world, capfd):
    agents = world.folder / "agents" / "general.yaml"
    agents.write_text(agents.read_text() + "policies: {context: {retention: session}}\n")
    session = world.session("First.", "Second.")
    first = RunRequest([Task("general", "One?")], only_answer=True, out=world.folder / "r.json")

    execute(first, session)
    err = capfd.readouterr().err
    conversation = err.partition("--continue ")[2].split()[0]
    again = RunRequest([Task("general", "Two?")], only_answer=True, conversation=conversation)
    execute(again, session)

    assert capfd.readouterr().out == "Second.\n"


def test_a_file_that_cannot_be_written_costs_nobody_the_report(world, capfd):
    request = RunRequest([Task("alpha")], out=Path("/dev/full"))
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    with pytest.raises(SashizuError, match="No space left on device"):
        execute(request, world.session("All is well."))

    assert "All is well." in capfd.readouterr().out


def test_events_that_nobody_reads_end_the_run_with_its_report(world, capfd, monkeypatch):
    def gone(_text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("sashizu_cli.render.raw", gone)
    request = RunRequest([Task("alpha")], as_json=True, out=world.folder / "r.json")

    execute(request, world.session("late", latency_s=30))

    document = ReportDocument.model_validate_json((world.folder / "r.json").read_text())
    assert document.results[0].error == "nobody reads the events any more"
    assert world.sink.kinds()[-1] == "run.ended"


def test_a_conversation_is_limited_as_the_agent_it_belongs_to(world, cli):
    kept = "policies: {context: {retention: session}}\n"
    with (world.folder / "agents" / "alpha.yaml").open("a") as file:
        file.write(kept)
    execute(RunRequest([Task("alpha")]), world.session("one"))
    _, _, err = cli("run", "two", "--continue", "last", "--budget", "general=5")
    assert "is for an agent that is not asked; asked: alpha" in err


def test_what_was_sent_and_never_billed_is_told_apart(world, capfd):
    broken = ModelError("cut", fault="invalid_request", sent=True)
    execute(RunRequest([Task("alpha")], out=world.folder / "r.json"), world.session(broken))
    document = ReportDocument.model_validate_json((world.folder / "r.json").read_text())
    (result,) = document.results
    assert result.usage.output_tokens == 0
    assert result.doubtful_tokens > 0
    assert "more in doubt" in capfd.readouterr().out
