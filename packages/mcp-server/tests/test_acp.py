"""An editor talks to agents: the library's own client over the real stdio of a real process."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what the library speaks
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from acp import spawn_agent_process
from acp.client.connection import ClientSideConnection
from acp.exceptions import RequestError
from acp.helpers import embedded_text_resource, resource_block, resource_link_block, text_block
from acp.schema import AllowedOutcome, ClientCapabilities, DeniedOutcome, RequestPermissionResponse
from sashizu_core.runtime.conversation import load_conversation

WORDS = ["-c", "from sashizu_mcp_server.acp.cli import app; app()", "--no-audit"]
ASK = '[[policy.rule]]\nverdict = "ask"\ntouches = "write"\npattern = "*"\n'


@pytest.fixture
def anyio_backend() -> str:
    """The library is made of asyncio, on both sides."""
    return "asyncio"


class Editor:
    """What an editor keeps of what it is told. `answer` is what it says to questions."""

    def __init__(self, answer: str | None = "once") -> None:
        self.answer = answer
        self.updates: list[Any] = []
        self.questions: list[Any] = []
        self.asked = anyio.Event()
        self.waiting = anyio.Event()
        self.heard = anyio.Event()

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append(update)
        self.heard.set()

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **_: Any
    ) -> RequestPermissionResponse:
        self.questions.append((tool_call, options))
        self.asked.set()
        if self.answer == "wait":
            await self.waiting.wait()
        if self.answer in (None, "wait"):
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(
            outcome=AllowedOutcome(outcome="selected", option_id=self.answer)
        )

    def on_connect(self, conn: Any) -> None:
        return None

    def of(self, kind: str) -> list[Any]:
        return [update for update in self.updates if update.session_update == kind]

    @property
    def said(self) -> str:
        return "".join(update.content.text for update in self.of("agent_message_chunk"))


@asynccontextmanager
async def connected(place: Any, editor: Editor, *options: str) -> AsyncIterator[Any]:
    words = [*WORDS, *options]
    with anyio.fail_after(60):
        async with spawned(place, editor, *words) as connection:
            await connection.initialize(1, ClientCapabilities())
            yield connection


@asynccontextmanager
async def spawned(place: Any, editor: Editor, *words: str) -> AsyncIterator[ClientSideConnection]:
    """As the library's `spawn_agent_process`, for a program that starts as the place has it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    process = place.start([sys.executable, *words], env=place.env, cwd=place.work, **pipes)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), process.stdout
    )
    writing, flow = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, process.stdin)
    writer = asyncio.StreamWriter(writing, flow, None, loop)
    connection = ClientSideConnection(editor, writer, reader)
    try:
        yield connection
    finally:
        await connection.close()
        writing.close()
        try:
            await anyio.to_thread.run_sync(process.wait, 30)
        finally:
            reading.close()
            process.kill()


async def talk(connection: ClientSideConnection, place: Any, *blocks: Any) -> tuple[str, Any]:
    session = await connection.new_session(cwd=str(place.work), mcp_servers=[])
    answer = await connection.prompt(session.session_id, list(blocks) or [text_block("go on")])
    return session.session_id, answer


WRITER = ("--agent=alpha", "--model=fake/writer")


async def test_an_editor_hears_words_calls_and_how_far_the_plan_is(place: Any) -> None:
    editor = Editor()
    async with connected(place, editor, *WRITER) as connection:
        _, answer = await talk(connection, place)
    assert answer.stop_reason == "end_turn"
    assert answer.field_meta["sashizu"]["run_id"]
    (call,) = editor.of("tool_call")
    assert (call.title.split()[0], call.kind, call.status) == ("apply_patch", "edit", "in_progress")
    assert "+made" in call.raw_input["patch"]
    (ended,) = editor.of("tool_call_update")
    assert (ended.tool_call_id, ended.status) == (call.tool_call_id, "completed")
    assert "new.txt" in editor.said
    plan = editor.of("plan")
    assert [entry.content for entry in plan[0].entries] == ["It says something."]
    kinds = [update.session_update for update in editor.updates]
    assert kinds.index("tool_call") < kinds.index("tool_call_update")
    assert kinds.index("tool_call_update") < kinds.index("agent_message_chunk")
    assert (place.work / "new.txt").read_text() == "made\n"


async def test_the_first_answer_says_what_is_served(place: Any) -> None:
    async with spawned(place, Editor(), *WORDS) as connection:
        answer = await connection.initialize(99, ClientCapabilities())
    assert answer.protocol_version == 1
    assert answer.agent_info.name == "sashizu"
    assert answer.agent_capabilities.load_session
    assert answer.agent_capabilities.prompt_capabilities.embedded_context
    assert not answer.agent_capabilities.prompt_capabilities.image


@pytest.mark.parametrize(
    ("answer", "made"), [("once", True), ("run", True), ("deny", False), (None, False)]
)
async def test_questions_are_answered_in_the_editor(
    place: Any, answer: str | None, made: bool
) -> None:
    (place.folder / "config/sashizu/sashizu.toml").write_text(ASK)
    editor = Editor(answer)
    async with connected(place, editor, *WRITER) as connection:
        await talk(connection, place)
    ((call, options),) = editor.questions
    assert [option.kind for option in options] == ["allow_once", "allow_always", "reject_once"]
    assert "new.txt" in call.content[0].content.text
    (begun,) = editor.of("tool_call")
    assert begun.tool_call_id == call.tool_call_id
    assert editor.of("tool_call_update")[0].status == ("completed" if made else "failed")
    assert (place.work / "new.txt").exists() is made


async def test_a_prompt_that_is_cancelled_ends_with_its_report(place: Any) -> None:
    editor = Editor()
    async with connected(place, editor, "--agent=alpha", "--model=fake/slow") as connection:
        session = await connection.new_session(cwd=str(place.work), mcp_servers=[])
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                assert await anyio.to_thread.run_sync(place.appears, "asked", 20)
                with pytest.raises(RequestError, match="at work"):
                    await connection.prompt(session.session_id, [text_block("more")])
                await connection.cancel(session.session_id)

            group.start_soon(cancel)
            answer = await connection.prompt(session.session_id, [text_block("go on")])
        assert answer.stop_reason == "cancelled"
        assert place.appears("cancelled", 5)
        assert await connection.new_session(cwd=str(place.work), mcp_servers=[])


async def test_a_question_that_is_open_does_not_keep_a_prompt_from_being_cancelled(
    place: Any,
) -> None:
    (place.folder / "config/sashizu/sashizu.toml").write_text(ASK)
    editor = Editor("wait")
    async with connected(place, editor, *WRITER) as connection:
        session = await connection.new_session(cwd=str(place.work), mcp_servers=[])
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await editor.asked.wait()
                await connection.cancel(session.session_id)

            group.start_soon(cancel)
            answer = await connection.prompt(session.session_id, [text_block("go on")])
        editor.waiting.set()
    assert answer.stop_reason == "cancelled"
    assert not (place.work / "new.txt").exists()


async def test_a_conversation_is_kept_and_shown_again(place: Any) -> None:
    async with connected(place, Editor(), *WRITER) as connection:
        session_id, _ = await talk(connection, place, text_block("make it"))
    kept = load_conversation(Path(place.env["SASHIZU_HOME"]), session_id)
    assert [message.role for message in kept.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    editor = Editor()
    async with connected(place, editor, "--model=fake/writer") as connection:
        await connection.load_session(cwd=str(place.work), session_id=session_id, mcp_servers=[])
        kinds = [update.session_update for update in editor.updates]
        assert kinds == ["user_message_chunk", "tool_call", "agent_message_chunk"]
        assert editor.updates[0].content.text == "make it"
        assert editor.updates[1].status == "completed"
        await connection.prompt(session_id, [text_block("once more")])
    kept = load_conversation(Path(place.env["SASHIZU_HOME"]), session_id)
    assert len(kept.runs) == 2
    said = [message.content for message in kept.messages if message.role == "user"]
    assert said == ["make it", "once more"]


async def test_files_come_with_a_prompt(place: Any) -> None:
    editor = Editor()
    uri = (place.work / "a.py").as_uri()
    blocks = [
        text_block("look at "),
        resource_link_block("a.py", uri),
        resource_block(embedded_text_resource("file:///elsewhere/b.py", "y = 2")),
    ]
    async with connected(place, editor, *WRITER) as connection:
        session_id, _ = await talk(connection, place, *blocks)
    kept = load_conversation(Path(place.env["SASHIZU_HOME"]), session_id)
    text = kept.messages[1].content
    assert text.startswith("look at `a.py`")
    assert "[begin /elsewhere/b.py]\ny = 2\n[end /elsewhere/b.py]" in text
    assert "Scope:\n- a.py" in text


async def test_what_cannot_be_meant_is_refused_in_words(place: Any) -> None:
    async with connected(place, Editor(), *WRITER) as connection:
        with pytest.raises(RequestError, match="absolute path"):
            await connection.new_session(cwd="elsewhere", mcp_servers=[])
        with pytest.raises(RequestError, match="no session"):
            await connection.prompt("nothing", [text_block("go on")])
        with pytest.raises(RequestError, match="there is no conversation"):
            await connection.load_session(cwd=str(place.work), session_id="nothing", mcp_servers=[])
        session = await connection.new_session(cwd=str(place.work), mcp_servers=[])
        with pytest.raises(RequestError, match="is empty"):
            await connection.prompt(session.session_id, [text_block(" ")])
    async with connected(place, Editor(), "--agent=alhpa") as connection:
        with pytest.raises(RequestError, match="did you mean 'alpha'"):
            await connection.new_session(cwd=str(place.work), mcp_servers=[])


async def test_an_agent_of_the_folder_needs_trust(place: Any) -> None:
    agents = place.work / ".sashizu/agents"
    agents.mkdir(parents=True)
    (agents / "beta.yaml").write_text("name: beta\ngoal: g\n")
    async with connected(place, Editor(), "--agent=repo:beta") as connection:
        with pytest.raises(RequestError, match="sashizu trust"):
            await connection.new_session(cwd=str(place.work), mcp_servers=[])


async def test_the_process_ends_with_the_editor_whatever_is_at_work(place: Any) -> None:
    editor = Editor()
    words = [*WORDS, "--agent=alpha", "--model=fake/slow"]
    async with spawn_agent_process(
        editor, sys.executable, *words, env=place.env, cwd=place.work
    ) as (connection, process):
        await connection.initialize(1, ClientCapabilities())
        session = await connection.new_session(cwd=str(place.work), mcp_servers=[])
        async with anyio.create_task_group() as group:
            group.start_soon(ended_somehow, connection, session.session_id)
            assert await anyio.to_thread.run_sync(place.appears, "asked", 20)
            process.stdin.close()
            assert await process.wait() == 0
            group.cancel_scope.cancel()
    assert place.appears("cancelled", 1)


async def ended_somehow(connection: Any, session_id: str) -> None:
    try:
        await connection.prompt(session_id, [text_block("go on")])
    except (ConnectionError, RequestError):
        return


def test_what_is_no_message_is_answered_and_read_over(place: Any, warm: Any) -> None:
    initialize = {"protocolVersion": 1, "clientCapabilities": {}}
    lines = [
        b"no json",
        b"[1]",
        b"",
        json.dumps(
            {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": initialize}
        ).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 8, "method": "no/such", "params": {}}).encode(),
    ]
    done = warm.run(
        [sys.executable, *WORDS],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        env=place.env,
        cwd=place.work,
        timeout=60,
        check=True,
    )
    answers = {each["id"]: each for each in map(json.loads, done.stdout.splitlines()) if each["id"]}
    refused = [json.loads(line) for line in done.stdout.splitlines()][:2]
    assert [each["error"]["code"] for each in refused] == [-32700, -32600]
    assert answers[7]["result"]["protocolVersion"] == 1
    assert answers[8]["error"]["code"] == -32601
