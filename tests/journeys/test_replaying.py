"""Runs that are made again, gone on with and forked, at the command line."""

import json
import threading

import pytest

AGENTS = "code-reviewer,sec-audit,test-gen"
KEPT = ("-c", 'audit.content="blobs"')


def test_the_main_job_is_replayed_without_its_files(place):
    done = place.sashizu(*KEPT, "delegate-parallel", AGENTS, "--scope", ".", "--budget", "500k")
    assert done.returncode == 0, done.stderr
    (place.project / "src" / "pay" / "amounts.py").unlink()
    again = place.sashizu("replay", "last")
    assert again.returncode == 0, again.stderr
    assert "all the same" in again.stderr
    then = [line for line in done.stdout.splitlines() if "wrote" in line or "findings" in line]
    assert then
    assert all(line in again.stdout for line in then)
    twice = json.loads(
        place.sashizu(
            "audit",
            "sql",
            "select count(*) as runs, count(replay_of) as replays from runs",
            "--format",
            "json",
        ).stdout
    )
    assert twice == [{"runs": 2, "replays": 1}]


def test_without_content_the_person_is_told_what_to_set(place):
    place.sashizu("-c", 'audit.content="hashes"', "delegate", "code-reviewer", "--scope", "src")
    for words in (["replay", "last"], ["fork", "last", "--at", "0"]):
        refused = place.sashizu(*words)
        assert refused.returncode == 1
        assert 'Set content = "blobs" in [audit]' in refused.stderr


@pytest.mark.crash
def test_a_killed_run_goes_on_is_replayed_and_forked(place, service):
    cut_off = threading.Event()

    def calls(body):
        spoken = sum(message["role"] == "assistant" for message in body["messages"])
        if spoken == 1 and not cut_off.is_set():
            cut_off.set()
            killed.kill()
            killed.wait(60)
        return 2

    service.calls_of = calls
    tools = "tools: {mcp: [list_files], fs: {read: true}}"
    agent = place.project / ".sashizu" / "agents" / "plain.yaml"
    agent.write_text(f"name: plain\ngoal: Answer the question.\n{tools}\n")
    place.trust()
    service.wait.clear()
    killed = place.start(*KEPT, "delegate", "plain", "--model", "openai/test", **service.env)
    service.wait.set()
    assert cut_off.wait(60)
    assert killed.wait(60) == -9
    killed.communicate()

    alone = place.sashizu(*KEPT, "resume", "last", **service.env)
    assert "All is well." in alone.stdout, alone.stderr
    assert alone.returncode == 0
    assert len(service.calls) == 4  # one answered, one cut off and asked again, one more

    dead = {**service.env, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    again = place.sashizu("replay", "last", **dead)
    assert (again.returncode, "all the same" in again.stderr) == (0, True), again.stderr
    ended = place.sashizu(*KEPT, "resume", "last", **service.env)
    assert ended.returncode == 2
    assert "has ended with 'ok'" in ended.stderr

    service.answer = "All is otherwise."
    forked = place.sashizu(*KEPT, "fork", "last", "--at", "0", "--budget", "60k", **service.env)
    assert forked.returncode == 0, forked.stderr
    assert "All is otherwise." in forked.stdout
