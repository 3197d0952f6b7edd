from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.approvals import Approvals
from sashizu_core.bounds import text_bound
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import Grants, PathRequest, PermissionRequest, Subject
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.protocols import ToolContext
from sashizu_core.testing.fakes import FixedApprover, MemorySink, call
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.turn.toolcalls import ToolBox, cut_results
from sashizu_core.types import Decision, Message, StepKind, ToolCall, ToolResult, ToolSchema
from sashizu_core.workspace import Workspace


@dataclass
class Probe:
    """A tool that does what a test tells it, and asks to read `path`."""

    act: Callable[[], ToolResult] = lambda: ToolResult("fine")
    path: str = "a.txt"
    kind: StepKind = StepKind.PURE
    name: str = "probe"
    ran: int = 0
    meet: anyio.Event | None = None
    waiting: list[str] = field(default_factory=list)

    @property
    def schema(self) -> ToolSchema:
        return ToolSchema(self.name, "a probe", {"type": "object"})

    def parse(self, arguments: str) -> Any:
        if arguments == "broken":
            raise ArgumentsError("arguments: not JSON at 1")
        return arguments

    def requests(self, arguments: Any, context: ToolContext) -> Sequence[PermissionRequest]:
        return [PathRequest(self.path, "read")]

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        self.ran += 1
        if self.meet is not None:
            self.waiting.append(self.name)
            if len(self.waiting) == 2:
                self.meet.set()
            await self.meet.wait()
        return self.act()


GRANTS = Grants(tools=frozenset({"probe"}), fs_read=(".",))


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def box(sink: MemorySink, tmp_path: Path) -> Callable[..., ToolBox]:
    def make(*tools: Probe, grants: Grants = GRANTS, **options: Any) -> ToolBox:
        steps = StepContext(Recorder([sink], {}), new_run_id(), new_agent_id())
        with Workspace.open(tmp_path) as workspace:
            context = ToolContext("id", "agent", "run", workspace)
        subject = Subject("id", "agent", (grants,))
        return ToolBox({tool.name: tool for tool in tools}, subject, context, steps, **options)

    return make


async def only(box: ToolBox, tool_call: ToolCall) -> Message:
    (message,) = await box.run([tool_call])
    box._steps.recorder.flush()
    assert message.tool_call_id == tool_call.id
    return message


async def test_an_allowed_call_is_decided_on_record_before_it_runs(
    box: Callable[..., ToolBox], sink: MemorySink
) -> None:
    def act() -> ToolResult:
        assert sink.kinds() == ["tool.requested", "tool.decided"]
        return ToolResult("42")

    message = await only(box(Probe(act)), call("probe"))
    assert (message.content, message.is_error) == ("42", False)
    assert sink.kinds() == ["tool.requested", "tool.decided", "tool.ended"]
    assert sink.of("tool.decided")[0]["decision"] == "allow"


async def test_a_call_that_no_grant_covers_does_not_run_and_the_model_hears_why(
    box: Callable[..., ToolBox], sink: MemorySink
) -> None:
    probe = Probe(path="secret/key")
    grants = Grants(tools=frozenset({"probe"}), fs_read=("src",))
    message = await only(box(probe, grants=grants), call("probe"))
    assert message.is_error
    assert "secret/key" in message.content
    assert probe.ran == 0
    assert sink.of("tool.decided")[0]["decision"] == "deny"
    assert sink.of("security.denied")[0]["tool"] == "probe"
    assert sink.durable_count == len(sink.events)


async def test_a_tool_that_is_not_granted_does_not_run(box: Callable[..., ToolBox]) -> None:
    probe = Probe()
    message = await only(box(probe, grants=Grants(fs_read=(".",))), call("probe"))
    assert message.is_error
    assert probe.ran == 0


async def test_an_unknown_tool_is_answered_with_the_known_ones(box: Callable[..., ToolBox]) -> None:
    message = await only(box(Probe()), call("prob"))
    assert message.is_error
    assert "did you mean 'probe'?" in message.content


async def test_malformed_arguments_are_answered_with_the_error_and_counted(
    box: Callable[..., ToolBox],
) -> None:
    tools = box(Probe())
    message = await only(tools, ToolCall("1", "probe", "broken"))
    assert message.content == "arguments: not JSON at 1"
    assert tools.malformed == 1


@pytest.mark.parametrize("error", [ToolError("no such file"), ZeroDivisionError("a bug")])
async def test_a_failing_tool_answers_the_model_and_harms_nothing_else(
    box: Callable[..., ToolBox], sink: MemorySink, error: Exception
) -> None:
    def act() -> ToolResult:
        raise error

    message = await only(box(Probe(act)), call("probe"))
    assert message.is_error
    assert str(error) in message.content
    assert sink.of("tool.ended")[0]["status"] == "error"


async def test_calls_that_only_read_run_side_by_side(box: Callable[..., ToolBox]) -> None:
    waiting: list[str] = []
    meet = anyio.Event()
    probe = Probe(meet=meet, waiting=waiting)
    with anyio.fail_after(5):
        messages = await box(probe).run([call("probe", "1"), call("probe", "2")])
    assert [message.tool_call_id for message in messages] == ["1", "2"]


async def test_calls_that_change_something_run_one_after_the_other(
    box: Callable[..., ToolBox],
) -> None:
    order: list[str] = []

    def act(name: str) -> Callable[[], ToolResult]:
        return lambda: (order.append(name), ToolResult(name))[1]

    write = Probe(act("write"), kind=StepKind.EFFECT, name="write")
    read = Probe(act("read"))
    grants = Grants(tools=frozenset({"probe", "write"}), fs_read=(".",))
    tools = box(write, read, grants=grants)
    await tools.run([call("write", "1"), call("probe", "2"), call("write", "3")])
    assert order == ["write", "read", "write"]


class Never:
    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        return Decision("deny", "never", "never", "policy")


class Asks:
    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        return Decision("ask", "sure?") if isinstance(request, PathRequest) else None


async def test_a_policy_can_deny_what_the_grants_allow(box: Callable[..., ToolBox]) -> None:
    message = await only(box(Probe(), policies=[Never()]), call("probe"))
    assert message.content == "not allowed: never"


async def test_ask_is_a_denial_when_nobody_can_be_asked(box: Callable[..., ToolBox]) -> None:
    message = await only(box(Probe(), policies=[Asks()]), call("probe"))
    assert "nobody can be asked" in message.content


@pytest.mark.parametrize(
    ("answer", "decision", "times"),
    [("once", "allow", 2), ("run", "allow", 1), ("deny", "deny", 1)],
)
async def test_whoever_is_asked_decides_and_the_record_says_so(
    box: Callable[..., ToolBox],
    sink: MemorySink,
    answer: Literal["deny", "once", "run"],
    decision: str,
    times: int,
) -> None:
    says = FixedApprover(answer)
    tools = box(Probe(), policies=[Asks()], approvals=Approvals(says))
    for _ in range(2):
        assert (await only(tools, call("probe"))).is_error is (answer == "deny")
    first, second = sink.of("tool.decided")
    assert (first["decision"], first["decided_by"]) == (decision, "user")
    sources = [event["attrs"]["source"] for event in (first, second)]  # type: ignore[index]
    assert sources == ["approver: test", "approver: test" if times == 2 else "run: test"]
    assert len(says.asked) == times
    question = says.asked[0]
    assert (question.agent_name, question.tool) == ("agent", "probe")
    assert question.needing == (PathRequest("a.txt", "read"),)
    assert len(question.requests) == 2


@given(st.lists(st.text(max_size=300), min_size=1, max_size=5), st.integers(0, 900))
def test_cut_results_fit_the_room_and_short_ones_survive(texts: list[str], room: int) -> None:
    messages = [Message("tool", text, tool_call_id=str(n)) for n, text in enumerate(texts)]
    cut = cut_results(messages, room)
    note = len("\n[cut: 9999 bytes in all]")
    assert sum(text_bound(message.content) for message in cut) <= room + note * len(texts)
    assert [message.tool_call_id for message in cut] == [m.tool_call_id for m in messages]
    if sum(text_bound(text) for text in texts) <= room:
        assert cut == messages
