"""The older methods of conversations, over a real process."""

import sys
from pathlib import Path

import pytest

COMMAND = [
    sys.executable,
    "-c",
    "from sashizu_mcp_server.appserver.cli import app; app()",
]
WRITING = '[policy.ceiling.tools.fs]\nread = true\nwrite = ["."]\n'
ASKING = WRITING + '[[policy.rule]]\nverdict = "ask"\ntouches = "write"\npattern = "new.txt"\n'


@pytest.fixture
def start(place):
    place.words = lambda *options: [*COMMAND, *options]
    agents = place.folder / "config" / "sashizu" / "agents"
    text = (agents / "alpha.yaml").read_text().replace("alpha", "general")
    kept = "policies:\n  context:\n    retention: session\n"
    (agents / "general.yaml").write_text(text + kept)

    def started(*options):
        server = place.server(*options)
        server.send({"id": 0, "method": "initialize", "params": {"clientInfo": CLIENT}})
        assert server.receive()["result"]["userAgent"].startswith("sashizu/")
        server.send({"method": "initialized"})
        return server

    return started


CLIENT = {"name": "test", "version": "1"}


def asked(server, method, **params):
    server.send({"id": method, "method": method, "params": params})
    return server.answer_to(method)


def talk(server, **params):
    conversation_id = asked(server, "newConversation", **params)["result"]["conversationId"]
    asked(server, "addConversationListener", conversationId=conversation_id)
    return conversation_id


def say(server, conversation_id, text):
    items = [{"type": "text", "data": {"text": text}}]
    assert asked(server, "sendUserMessage", conversationId=conversation_id, items=items) == {
        "id": "sendUserMessage",
        "result": {},
    }


def events(server, last, decision=None):
    """The events up to one of that type; approvals are answered with `decision`."""
    found = list(server.notes)
    server.notes.clear()
    while not found or found[-1]["method"] != f"codex/event/{last}":
        frame = server.receive()
        if frame.get("method", "").endswith("Approval"):
            found.append(frame)
            server.send({"id": frame["id"], "result": {"decision": decision}})
        else:
            found.append(frame)
    return found


def test_a_message_is_acknowledged_at_once_and_answered_as_events(start):
    server = start("--model=offline")
    conversation_id = talk(server)
    say(server, conversation_id, "What is in a.py?")
    found = events(server, "task_complete")
    kinds = [frame["params"]["msg"]["type"] for frame in found]
    assert kinds[0] == "task_started"
    assert {"agent_message", "token_count"} <= set(kinds)
    assert {frame["params"]["conversationId"] for frame in found} == {conversation_id}
    assert found[-1]["params"]["msg"]["last_agent_message"]
    assert server.close() == 0


def test_a_conversation_is_one_that_can_be_continued(start, place):
    server = start("--model=offline")
    answer = asked(server, "newConversation")["result"]
    asked(server, "addConversationListener", conversationId=answer["conversationId"])
    for text in ("First", "Second"):
        say(server, answer["conversationId"], text)
        events(server, "task_complete")
    kept = Path(answer["rolloutPath"]).read_text()
    assert "First" in kept
    assert "Second" in kept


def test_a_turn_is_interrupted_and_the_answer_comes_when_it_has_ended(start, place):
    server = start("--model=fake/slow")
    conversation_id = talk(server)
    say(server, conversation_id, "Wait")
    assert place.appears("asked", 60)
    answer = asked(server, "interruptConversation", conversationId=conversation_id)
    assert answer["result"] == {"abortReason": "interrupted"}
    assert (place.traces / "cancelled").exists()
    kinds = [note["params"]["msg"]["type"] for note in server.notes]
    assert "turn_aborted" in kinds


@pytest.mark.parametrize(
    ("decision", "made"),
    [("approved", True), ("approved_for_session", True), ("denied", False), ("allow", False)],
)
def test_what_needs_an_answer_is_asked_for(start, place, decision, made):
    server = start("--model=fake/writer", place.policy(ASKING))
    conversation_id = talk(server)
    say(server, conversation_id, "Make it")
    found = events(server, "task_complete", decision)
    (question,) = [frame for frame in found if frame["method"] == "applyPatchApproval"]
    assert "new.txt" in question["params"]["fileChanges"]
    assert (place.work / "new.txt").exists() == made


def test_who_says_never_is_not_asked(start, place):
    server = start("--model=fake/writer", place.policy(ASKING))
    say(server, talk(server, approvalPolicy="never"), "Make it")
    assert all("Approval" not in frame["method"] for frame in events(server, "task_complete"))
    assert not (place.work / "new.txt").exists()


@pytest.mark.parametrize(("sandbox", "made"), [("read-only", False), ("workspace-write", True)])
def test_a_client_can_only_narrow(start, place, sandbox, made):
    server = start("--model=fake/writer", place.policy(WRITING))
    say(server, talk(server, sandbox=sandbox), "Make it")
    events(server, "task_complete")
    assert (place.work / "new.txt").exists() == made


def test_full_access_gives_no_more_than_the_policy(start, place):
    server = start("--model=fake/writer")
    say(server, talk(server, sandbox="danger-full-access"), "Make it")
    events(server, "task_complete")
    assert not (place.work / "new.txt").exists()


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("initialize", {"clientInfo": CLIENT}, "Already initialized"),
        ("sendUserMessage", {"conversationId": "x", "items": []}, "conversation not found: x"),
        ("sendUserMessage", {}, "Invalid request"),
        ("interruptConversation", {"conversationId": "x"}, "conversation not found: x"),
        ("addConversationListener", {"conversationId": "x"}, "conversation not found: x"),
        ("removeConversationListener", {"subscriptionId": "x"}, "subscription not found: x"),
        ("newConversation", {"cwd": "/"}, "and nowhere else"),
        ("newConversation", {"sandbox": "none"}, "Invalid request: sandbox"),
        ("noSuchMethod", {}, "there is no method 'noSuchMethod'"),
    ],
)
def test_what_cannot_be_done_is_an_error(start, method, params, told):
    server = start()
    assert told in asked(server, method, **params)["error"]["message"]


def test_nothing_is_done_before_the_greeting(place):
    place.words = lambda *options: [*COMMAND, *options]
    server = place.server()
    answer = asked(server, "newConversation")
    assert answer["error"] == {"code": -32600, "message": "Not initialized"}
    server.send(b"no json")
    assert server.receive()["error"]["message"] == "Invalid request"
