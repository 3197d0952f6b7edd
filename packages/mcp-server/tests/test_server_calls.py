"""What clients can call over stdio: agents, runs, files, questions, and the bounds of all of it."""

import json
import time

import pytest
from jsonschema import Draft202012Validator
from sashizu_core.runtime.artifacts import RUNS_FOLDER

READERS = {"read_file", "grep", "codebase_search"}
WRITING = '[policy.ceiling.tools.fs]\nread = true\nwrite = ["."]\n'
ASKING = (
    WRITING
    + """
[[policy.rule]]
verdict = "ask"
touches = "write"
pattern = "new.txt"
reason = "new files are rare"
"""
)


def tools_of(server):
    server.send({"jsonrpc": "2.0", "id": "tools", "method": "tools/list"})
    return {tool["name"]: tool for tool in server.answer_to("tools")["result"]["tools"]}


@pytest.fixture(scope="module")
def server(quiet_place):
    server = quiet_place.server()
    server.initialize()
    yield server
    assert server.close() == 0


# --- what there is --------------------------------------------------------------------------------


def test_a_server_without_a_policy_offers_nothing_that_changes_files(server):
    tools = tools_of(server)
    assert tools.keys() >= READERS | {"delegate", "delegate_parallel", "list_agents", "run_status"}
    assert tools.keys() >= {"run_result", "cancel_run", "budget_status", "audit_query"}
    assert not tools.keys() & {"apply_patch", "shell", "write_file"}


def test_every_tool_has_schemas_and_hints_that_are_sound(server):
    for name, tool in tools_of(server).items():
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object", name
            assert "$ref" not in json.dumps(schema), name
        changes = name in ("cancel_run", "create_agent")
        assert tool["annotations"]["readOnlyHint"] != changes, name
        assert tool["title"], name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read_file", {"path": "a.py"}),
        ("grep", {"pattern": "x"}),
        ("codebase_search", {"query": "x"}),
        ("list_agents", {}),
        ("run_status", {}),
        ("budget_status", {}),
        ("audit_query", {"sql": "SELECT kind, count(*) FROM events GROUP BY 1"}),
        ("delegate", {"agent": "code-reviewer", "goal": "Review", "scope": ["a.py"]}),
        ("delegate_parallel", {"tasks": [{"agent": "code-reviewer"}], "scope": ["a.py"]}),
        ("supervise", {"goal": "Review a.py", "scope": ["a.py"]}),
        ("create_agent", {"prompt": "Review Python files for long functions"}),
    ],
)
def test_answers_are_as_their_schemas_say(server, name, arguments):
    result = server.result(name, **arguments)
    assert result["isError"] is False, result
    Draft202012Validator(tools_of(server)[name]["outputSchema"]).validate(
        result["structuredContent"]
    )
    assert result["content"][0]["type"] == "text"


def test_a_file_is_read_and_the_call_is_on_record(server):
    assert "x = 1" in server.result("read_file", path="a.py")["structuredContent"]["text"]
    server.result("budget_status")
    rows = server.result(
        "audit_query",
        sql="SELECT agent_name, tool, decision FROM events WHERE kind = 'tool.decided'",
    )["structuredContent"]["rows"]
    assert ["mcp-client", "read_file", "allow"] in rows


def test_how_the_last_call_ended_is_recorded_though_none_follows(place):
    server = place.server()
    server.initialize()
    server.result("read_file", path="a.py")

    def kinds():
        lines = [
            line
            for file in (place.folder / "home/audit/hot").glob("*.jsonl")
            for line in file.read_text().splitlines()
        ]
        return {json.loads(line)["kind"] for line in lines}

    end = time.monotonic() + 20
    while "tool.ended" not in kinds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "../config"])
def test_nothing_outside_the_working_directory_is_read(server, path):
    assert server.result("read_file", path=path)["isError"] is True


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("delegate", {}, "'agent': Field required"),
        ("delegate", {"agent": "alpha", "gaol": "x"}, "did you mean 'goal'?"),
        ("delegate", {"agent": "nobody"}, "unknown agent 'nobody'"),
        ("delegate", {"agent": "alpha", "budget": ["lots"]}, "lots"),
        ("delegate_parallel", {"tasks": []}, "at least 1 item"),
        ("run_result", {"run_id": "0000"}, "this server started no run"),
        ("audit_query", {"sql": "DROP TABLE events"}, "only SELECT is allowed"),
        ("audit_query", {"sql": "SELECT * FROM read_text('/etc/passwd')"}, "not allowed"),
        ("grep", {"pattern": "("}, ""),
    ],
)
def test_what_is_wrong_is_told_in_the_result(server, name, arguments, told):
    result = server.result(name, **arguments)
    assert result["isError"] is True
    assert told in result["content"][0]["text"]


def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(server):
    server.call(1, "run_stats")
    error = server.answer_to(1)["error"]
    assert error["code"] == -32602
    assert "there is no tool 'run_stats'; did you mean 'run_status'?" in error["message"]


# --- runs -----------------------------------------------------------------------------------------


def test_a_run_can_be_started_and_polled(server):
    started = server.result("delegate_parallel", tasks=[{"agent": "code-reviewer"}], wait=False)
    run_id = started["structuredContent"]["run_id"]
    ended = server.result("run_result", run_id=run_id, wait_s=60)["structuredContent"]
    assert (ended["run_id"], ended["status"], len(ended["results"])) == (run_id, "ok", 1)
    states = server.result("run_status", run_id=run_id)["structuredContent"]["runs"]
    assert [state["status"] for state in states] == ["ok"]


def test_a_goal_is_planned_and_one_answer_made(server):
    told = server.result("supervise", goal="Review a.py", agents=["code-reviewer", "sec-audit"])
    report = told["structuredContent"]
    assert (report["status"], bool(report["answer"])) == ("ok", True)
    assert {step["step"]["agent"] for step in report["details"]["steps"]} <= {
        "code-reviewer",
        "sec-audit",
    }


def test_a_plan_alone_runs_nothing(server):
    report = server.result("supervise", goal="Review a.py", plan_only=True)["structuredContent"]
    assert report["status"] == "ok"
    assert report["details"]["plan"]["steps"]
    assert report["details"]["steps"] == []


def test_an_agent_that_was_created_can_be_delegated_to_and_may_no_more_than_the_server(place):
    server = place.server()
    server.initialize()
    prompt = "Review Python files for long functions and fix them"
    made = server.result("create_agent", prompt=prompt)["structuredContent"]
    assert made["status"] == "ok", made
    name = made["details"]["name"]
    assert f"name: {name}" in made["answer"]
    listed = server.result("list_agents")["structuredContent"]["agents"]
    (tools,) = [agent["tools"] for agent in listed if agent["name"] == name]
    assert not set(tools) & {"apply_patch", "write_file", "shell"}
    report = server.result("delegate", agent=name, scope=["a.py"])["structuredContent"]
    assert report["results"][0]["agent"] == name
    assert not (place.work / ".sashizu" / "agents").exists()


def test_runs_agents_and_artifacts_are_resources(server):
    report = server.result("delegate", agent="code-reviewer", scope=["a.py"])["structuredContent"]
    server.send({"jsonrpc": "2.0", "id": 1, "method": "resources/list"})
    uris = {each["uri"] for each in server.answer_to(1)["result"]["resources"]}
    made = [each["uri"] for each in report["results"][0]["artifacts"]]
    assert made
    assert uris >= {f"run://{report['run_id']}", "agent://alpha", *made}
    for number, uri in enumerate([f"run://{report['run_id']}", "agent://alpha", *made], 2):
        server.send(
            {"jsonrpc": "2.0", "id": number, "method": "resources/read", "params": {"uri": uri}}
        )
        (content,) = server.answer_to(number)["result"]["contents"]
        assert content["uri"] == uri
        assert content["text"]


def test_an_artifact_lies_in_the_folder_of_its_run(server):
    report = server.result("delegate", agent="code-reviewer", scope=["a.py"])["structuredContent"]
    (result,) = report["results"]
    for made in result["artifacts"]:
        assert made["path"].startswith(f"{RUNS_FOLDER}/{report['run_id']}/")


def test_prompts_are_filled_and_tell_what_is_missing(server):
    params = {"name": "delegate", "arguments": {"agent": "alpha", "goal": "Look"}}
    server.send({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": params})
    (message,) = server.answer_to(1)["result"]["messages"]
    assert '"agent": "alpha"' in message["content"]["text"]
    server.send(
        {"jsonrpc": "2.0", "id": 2, "method": "prompts/get", "params": {"name": "delegate"}}
    )
    assert "'agent'" in server.answer_to(2)["error"]["message"]


def test_progress_is_told_to_who_wants_it(place):
    server = place.server("--model=fake/slow")
    server.initialize()
    meta = {"progressToken": "mine"}
    params = {"name": "delegate", "arguments": {"agent": "alpha"}, "_meta": meta}
    server.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    told = [server.receive()["params"] for _ in range(3)]
    assert {each["progressToken"] for each in told} == {"mine"}
    assert [each["progress"] for each in told] == sorted({each["progress"] for each in told})
    assert "alpha: working" in told[-1]["message"]


@pytest.mark.parametrize("wait", [True, False])
def test_a_cancellation_reaches_the_model_within_a_second(place, wait):
    server = place.server("--model=fake/slow")
    server.initialize()
    server.call(1, "delegate", agent="alpha", wait=wait)
    assert place.appears("asked", 60)
    if wait:
        params = {"requestId": 1, "reason": "enough"}
        server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    else:
        run_id = server.answer_to(1)["result"]["structuredContent"]["run_id"]
        server.call(2, "cancel_run", run_id=run_id)
    assert place.appears("cancelled", 1)
    (state,) = server.result("run_status")["structuredContent"]["runs"]
    assert (
        state["status"] == "cancelled"
        or server.result("run_result", run_id=state["run_id"], wait_s=10)["structuredContent"][
            "status"
        ]
        == "cancelled"
    )


def test_a_run_that_nobody_waits_for_outlives_its_call_and_ends_with_the_server(place):
    server = place.server("--model=fake/slow")
    server.initialize()
    server.call(1, "delegate", agent="alpha", wait=False)
    assert server.answer_to(1)["result"]["structuredContent"]["status"] == "running"
    assert place.appears("asked", 60)
    assert server.close() == 0
    assert (place.traces / "cancelled").exists()


def test_all_runs_share_the_servers_budget(place):
    server = place.server("--model=fake/writer", "--budget=3000", place.policy(WRITING))
    server.initialize()
    asked = {"tasks": [{"agent": "alpha"}] * 4}
    results = server.result("delegate_parallel", **asked)["structuredContent"]["results"]
    assert any(result["outcome"] == "budget" for result in results)
    (budget,) = [server.result("budget_status")["structuredContent"]["server"]]
    assert budget["limits"]["tokens"] == 3000
    assert 0 <= budget["spent"]["tokens"] + budget["held"]["tokens"] <= 3000


# --- permission -----------------------------------------------------------------------------------

PATCH = "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+made\n"


def test_an_agent_writes_only_where_the_servers_ceiling_lets_it(place):
    server = place.server("--model=fake/writer")
    server.initialize()
    report = server.result("delegate", agent="alpha")["structuredContent"]
    assert not (place.work / "new.txt").exists()
    assert "apply_patch" in report["results"][0]["answer"]


def test_a_policy_opens_what_it_names(place):
    server = place.server("--model=fake/writer", place.policy(WRITING))
    server.initialize()
    assert "apply_patch" in tools_of(server)
    server.result("delegate", agent="alpha")
    assert (place.work / "new.txt").read_text() == "made\n"


@pytest.mark.parametrize(
    "bounds", [{"fs_write": []}, {"fs_write": ["elsewhere"]}, {"tools": ["read_file"]}]
)
def test_a_client_can_narrow_what_a_policy_opens(place, bounds):
    server = place.server("--model=fake/writer", place.policy(WRITING))
    server.initialize()
    server.result("delegate", agent="alpha", bounds=bounds)
    assert not (place.work / "new.txt").exists()


def test_a_client_cannot_widen(place):
    server = place.server("--model=fake/writer")
    server.initialize()
    server.result("delegate", agent="alpha", bounds={"fs_write": ["."], "exec": ["sh"]})
    assert not (place.work / "new.txt").exists()


def answer_questions(server, decision):
    """Answer every question until the call 1 is answered; returns the questions and the result."""
    questions = []
    while True:
        frame = server.receive()
        if frame.get("method") == "elicitation/create":
            questions.append(frame["params"])
            server.send({"jsonrpc": "2.0", "id": frame["id"], **decision})
        elif frame.get("id") == 1:
            return questions, frame["result"]


@pytest.fixture(scope="module")
def asking_server(quiet_place):
    """A server that asks before it makes a file."""
    server = quiet_place.server("--model=fake/writer", quiet_place.policy(ASKING))
    server.initialize("2025-06-18", elicitation={})
    yield server
    assert server.close() == 0


@pytest.fixture
def asking(request, tool):
    """A server that asks, and the file, which is not there before the test nor after it.

    A caller is asked once for one call. Every run has agents of its own; the client is one for all
    of the life of a server.
    """
    if tool == "delegate":
        server, place = (request.getfixturevalue(name) for name in ("asking_server", "quiet_place"))
    else:
        place = request.getfixturevalue("place")
        server = place.server("--model=fake/writer", place.policy(ASKING))
        server.initialize("2025-06-18", elicitation={})
    new = place.work / "new.txt"
    assert not new.exists()
    yield server, new
    new.unlink(missing_ok=True)


ALLOWED = {"result": {"action": "accept", "content": {"decision": "once"}}}


@pytest.mark.parametrize(
    ("decision", "made"),
    [
        (ALLOWED, True),
        ({"result": {"action": "accept", "content": {"decision": "deny"}}}, False),
        ({"result": {"action": "accept", "content": {}}}, False),
        ({"result": {"action": "decline"}}, False),
        ({"result": {"action": "cancel"}}, False),
        ({"result": {"action": "whatever"}}, False),
        ({"result": []}, False),
        ({"error": {"code": -32603, "message": "no"}}, False),
    ],
)
@pytest.mark.parametrize("tool", ["delegate", "apply_patch"])
def test_a_question_goes_to_the_client_and_only_its_yes_allows(asking, decision, made, tool):
    server, new = asking
    arguments = {"agent": "alpha"} if tool == "delegate" else {"patch": PATCH}
    server.call(1, tool, **arguments)
    questions, _ = answer_questions(server, decision)
    assert "new.txt" in questions[0]["message"]
    assert questions[0]["requestedSchema"]["type"] == "object"
    assert new.exists() == made


def test_who_cannot_be_asked_has_not_allowed(place):
    server = place.server(place.policy(ASKING))
    server.initialize()
    result = server.result("apply_patch", patch=PATCH)
    assert result["isError"] is True
    assert "cannot ask anybody" in result["content"][0]["text"]


@pytest.mark.parametrize(
    "text", ["", "[other]\n", "[policy\n", "[policy]\nnope = 1\n", "[policy]\n[run]\njobs = 1\n"]
)
def test_a_policy_that_is_wrong_ends_the_start_with_its_reason(place, text):
    server = place.server(place.policy(text))
    assert server.line() == b""
    assert server.process.wait(20) == 2
    assert b"policy.toml" in server.process.stderr.read()
