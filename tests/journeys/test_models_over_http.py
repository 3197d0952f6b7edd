"""Runs on a model service: what comes back, what goes wrong, what is interrupted."""

import json
import signal

from sashizu_cli.document import ReportDocument

MODEL = ("--model", "openai/test")


def test_two_agents_answer_and_everything_agrees(place, service, waited):
    process = place.start(
        "delegate-parallel", "plain,other", *MODEL, "--json", "-o", "r.json", **service.env
    )
    code, out, err = waited(process)

    events = [json.loads(line) for line in out.splitlines()]
    document = ReportDocument.model_validate_json((place.project / "r.json").read_text())
    recorded = place.sashizu(
        "audit", "sql", "select kind from events order by ts_ns, seq", "--format", "json"
    )
    assert code == 0, err
    assert [result.agent for result in document.results] == ["plain", "other"]
    assert {result.answer for result in document.results} == {"All is well."}
    assert document.usage.input_tokens == 60
    assert [event["kind"] for event in events].count("agent.ended") == 2
    assert {event["run_id"] for event in events} == {document.run_id}
    assert recorded.returncode == 0, recorded.stderr
    kinds = [row["kind"] for row in json.loads(recorded.stdout)]
    assert kinds.count("model.answered") == 2
    assert "sk-test-4711" not in out + err


def test_the_answer_to_a_prompt_from_stdin_is_all_on_stdout(place, service):
    done = place.sashizu("run", "-", *MODEL, stdin="How are you?\n", **service.env)

    assert (done.returncode, done.stdout) == (0, "All is well.\n"), done.stderr
    assert "How are you?" in json.dumps(service.calls[0])


def test_a_bare_prompt_means_run(place, service):
    done = place.sashizu("-c", "run.model=openai/test", "How are you?", **service.env)

    assert (done.returncode, done.stdout) == (0, "All is well.\n"), done.stderr


def test_hostile_text_of_a_model_does_not_reach_the_terminal(place, service):
    service.answer = "\x1b]0;owned\x07\x1b[2J [link](x)\u202e"

    done = place.sashizu("delegate", "plain", *MODEL, **service.env)

    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "\\x1b]0;owned\\x07\\x1b[2J [link](x)\\u202e" in done.stdout


def test_a_budget_that_no_call_fits_into_is_refused_before_anything_is_sent(place, service):
    done = place.sashizu("delegate", "plain", *MODEL, "--budget", "100", **service.env)

    assert done.returncode == 3, done.stderr
    assert "budget of" in done.stderr
    assert "left" in done.stderr
    assert service.calls == []


def test_a_deadline_ends_an_agent_that_waits(place, service):
    service.wait.clear()

    done = place.sashizu("delegate", "plain", *MODEL, "--deadline", "1s", **service.env)

    assert done.returncode == 124, done.stderr
    assert "# plain: deadline" in done.stdout
    assert "deadline of 1 s has passed" in done.stderr


def test_ctrl_c_ends_with_reports_and_records(place, service, waited):
    service.wait.clear()
    process = place.start("delegate-parallel", "plain,other", *MODEL, "-o", "r.json", **service.env)
    assert service.asked.wait(60)
    process.send_signal(signal.SIGINT)
    code, out, err = waited(process)

    document = ReportDocument.model_validate_json((place.project / "r.json").read_text())
    ended = place.sashizu(
        "audit", "sql", "select kind from events where kind like '%.ended'", "--format", "json"
    )
    assert code == 130, err
    assert "interrupted: ending with reports" in err
    assert "# plain: cancelled" in out
    assert {result.outcome for result in document.results} == {"cancelled"}
    assert len(json.loads(ended.stdout)) == 3


def test_ctrl_c_twice_ends_at_once_and_leaves_no_half_written_file(place, service, waited):
    service.wait.clear()
    process = place.start("delegate", "plain", *MODEL, "-o", "r.json", **service.env)
    assert service.asked.wait(60)
    process.send_signal(signal.SIGSTOP)  # both signals are there before either is handled
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    code, _, err = waited(process)

    assert code == 130, err
    assert list(place.project.glob("*r.json*")) == list(place.project.glob(".r.json*")) == []


def test_a_run_can_be_seen_and_ended_from_another_terminal(place, service, waited):
    service.wait.clear()
    process = place.start("delegate-parallel", "plain,other", *MODEL, **service.env)
    assert service.asked.wait(60)
    listed = json.loads(place.sashizu("runs", "list", "--json").stdout)
    status = json.loads(place.sashizu("runs", "status", "last").stdout)
    agent = next(state for state in status["agent_states"] if state["agent"] == "plain")
    one = place.sashizu("runs", "cancel", "last", "--agent", agent["agent_id"])
    both = place.sashizu("runs", "cancel", listed[0]["run_id"][:13])
    code, out, err = waited(process)

    assert (listed[0]["status"], listed[0]["agents"]) == ("running", ["plain", "other"])
    assert agent["state"] in ("working", "thinking")
    assert (one.returncode, both.returncode) == (0, 0), one.stderr + both.stderr
    assert code == 130, err
    assert "# plain: cancelled" in out
    assert "# other: cancelled" in out
    assert json.loads(place.sashizu("runs", "status", "last").stdout)["ended_at"]


def test_a_missing_key_is_told_by_its_name(place):
    done = place.sashizu("delegate", "plain", *MODEL)

    assert done.returncode in (1, 2)
    assert "OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_that_cannot_be_reached_is_told_by_its_address(place, dead_url):
    done = place.sashizu(
        "delegate", "plain", *MODEL, "--deadline", "60s",
        OPENAI_BASE_URL=dead_url, OPENAI_API_KEY="sk-x",
    )  # fmt: skip

    assert done.returncode == 1, done.stderr
    assert dead_url.removeprefix("http://").removesuffix("/v1") in done.stderr
    assert "connect" in done.stderr


def test_one_agents_failure_leaves_the_other_and_makes_the_exit_code_1(place, service):
    (place.project / ".sashizu/agents/other.yaml").write_text(
        "name: other\ngoal: Answer.\nmodel: openai/nosuch\n"
    )
    place.trust()

    done = place.sashizu(
        "-c", "run.model=openai/test", "delegate-parallel", "other,plain", **service.env
    )

    assert done.returncode == 1, done.stderr
    assert "# other: model failed" in done.stdout
    assert "# plain: answered" in done.stdout
    assert "1 of 2 agents succeeded" in done.stdout
    assert "'nosuch' does not exist" in done.stderr


def test_a_conversation_goes_on_where_it_ended(place, service):
    first = place.sashizu("run", "My name is Ada.", *MODEL, **service.env)
    service.answer = "Ada."
    second = place.sashizu("run", "--continue", "last", "What is my name?", *MODEL, **service.env)

    said = [message["content"] for message in service.calls[-1]["messages"]]
    assert "sashizu run --continue " in first.stderr
    assert (second.returncode, second.stdout) == (0, "Ada.\n"), second.stderr
    assert any("My name is Ada." in text for text in said)
    assert "All is well." in said
