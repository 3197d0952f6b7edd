"""What the objects of plugins can do. Each protocol has a contract suite in `testing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from sashizu_core.events import Event
from sashizu_core.grants import ExecRequest, NetRequest, PermissionRequest, Subject
from sashizu_core.sandboxing import Confinement, Sandbox
from sashizu_core.skills import Skill
from sashizu_core.types import (
    AgentReport,
    Amount,
    Bound,
    BudgetState,
    Completion,
    Decision,
    Limits,
    ModelInfo,
    ModelRequest,
    Price,
    SpendWindow,
    StepKind,
    Task,
    ToolResult,
    ToolSchema,
    Usage,
)
from sashizu_core.workspace import Workspace

__all__ = [
    "Admission",
    "Approval",
    "Approver",
    "Budget",
    "BudgetNode",
    "Busy",
    "ContentSink",
    "EventSink",
    "Hold",
    "LinkingSink",
    "Model",
    "Policy",
    "Question",
    "Readable",
    "Refused",
    "ServerStart",
    "ShiftingBudget",
    "Spawner",
    "TailoredTool",
    "Tool",
    "ToolContext",
    "ToolSource",
    "ToolsServed",
    "ToolsWanted",
    "WindowedNode",
]

T = TypeVar("T")


class Model(Protocol):
    """A language model, or what stands for one.

    One object serves many conversations at once and keeps no state that a conversation needs.
    """

    @property
    def info(self) -> ModelInfo: ...

    def bound(self, request: ModelRequest) -> Bound:
        """Bound what one attempt can be billed. Sync, and cheap in what is new."""
        ...

    def learn(self, bound: Bound, usage: Usage) -> None:
        """Hear what a call was billed, so that later bounds hold."""
        ...

    async def count(self, request: ModelRequest) -> int | None:
        """Ask the provider how many input tokens a request has; None where it cannot say."""
        ...

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Make one attempt.

        `on_text` is called with each piece of streamed answer text.

        Raises:
            ModelError: the attempt failed; every failure of the outside becomes one.
        """
        ...


class Tool(Protocol):
    """Something an agent can do. One object serves all agents of a run."""

    @property
    def schema(self) -> ToolSchema: ...

    @property
    def kind(self) -> StepKind: ...

    def parse(self, arguments: str) -> Any:
        """Read the JSON text that a model wrote.

        Raises:
            ArgumentsError: it is no JSON, or does not fit the schema; the message says where.
        """
        ...

    def requests(self, arguments: Any, context: ToolContext) -> Sequence[PermissionRequest]:
        """Say what the parsed call would touch. Pure; what is not named here is not allowed.

        Raises:
            ToolError: what the call would touch cannot be told.
        """
        ...

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """Do it.

        Raises:
            ToolError: it failed; the message goes back to the model.
        """
        ...


@runtime_checkable
class TailoredTool(Tool, Protocol):
    """A tool that tells each agent something else, such as what that agent may name."""

    def schema_for(self, context: ToolContext) -> ToolSchema:
        """What the agent's model is told, in place of `schema`; arguments are the same."""
        ...


class Spawner(Protocol):
    """Starts agents beneath the one that calls; its limits and permission bound them."""

    def offered(self) -> Mapping[str, str]:
        """The agents that the caller may start, and what each is for."""
        ...

    def name_of(self, agent: str) -> str:
        """The name by which an agent is judged and recorded, however it is written.

        Raises:
            ToolError: there is no such agent.
        """
        ...

    async def spawn(self, task: Task, *, step: int = -1) -> AgentReport:
        """Run one agent to its end. The caller has judged the request; the scope holds names.

        `step` is the number of the step of the caller that asks for it, -1 where it has none.

        Who is cancelled here cancels the agent, and waits until it has ended.

        Raises:
            SpawnRefused: a limit is met; nothing was started.
            SashizuError: it cannot be started as it was asked for.
            RecordError: the record cannot be written.
        """
        ...


class Readable(Protocol):
    """Which paths an agent may read: for tools that look at more than the one path they are given.

    Paths are those of `PathRequest`. `sashizu_core.permissions.readable` makes one of a subject.
    """

    def __call__(self, path: str) -> bool:
        """Whether a path may be read without asking anybody. Sync, cheap, touches no file."""
        ...

    def roots(self, beneath: str | None = None) -> tuple[str, ...]:
        """The paths that together are all that may be read at or beneath a path, or anywhere.

        `(beneath,)` where all of it is granted, the granted paths inside it where it is not, empty
        where nothing is.
        """
        ...


class _Nothing:
    """Nothing may be read: what a tool assumes of an agent that nobody vouched for."""

    def __call__(self, path: str) -> bool:  # noqa: ARG002 - as `Readable` has it
        return False

    def roots(self, beneath: str | None = None) -> tuple[str, ...]:  # noqa: ARG002
        return ()


_NOTHING = _Nothing()


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the agent that calls it.

    `workspace` is the one way to files. `scope` are the paths of the task;
    `progress` takes one line of text for the display. `readable` says what the agent may read, so
    that a search of a folder leaves out what is not granted; by default nothing is.
    `sandbox` starts programs, held by `confinement`, which is made from the agent's effective
    permission; None where no program can be started. `judge` decides on a request that comes up
    while the tool runs, such as a redirect, and records the decision. `spawner` starts agents;
    None for an agent that may start none. `skills` are those that the agent was told of. `step` is
    the number of the step that a call of a tool is, -1 outside of calls.
    """

    agent_id: str
    agent_name: str
    run_id: str
    workspace: Workspace
    scope: tuple[str, ...] = ()
    progress: Callable[[str], None] | None = None
    readable: Readable = _NOTHING
    sandbox: Sandbox | None = None
    confinement: Confinement | None = None
    judge: Callable[[PermissionRequest], Awaitable[Decision]] | None = None
    spawner: Spawner | None = None
    skills: tuple[Skill, ...] = ()
    step: int = -1


@dataclass(frozen=True, slots=True)
class ServerStart:
    """A server of tools that is to be started, or connected to, for an agent.

    `brought` says that the agent's own definition describes it, so that no agent above knows it.
    `refused` is why it must not be, whatever is granted; empty where nothing speaks against it.
    """

    server: str
    request: ExecRequest | NetRequest
    brought: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class ToolsWanted:
    """One agent instance that lists tools of servers.

    `listed` are names as `server/tool` or `server/*`; `servers` what its own definition says of
    servers, by name, and `source` whose definition that is. `sandbox` and `confinement` hold what
    is started for the agent. `suspicious` records that something looks like an attack: it takes the
    columns of an event. `starting` decides whether a server may be started or connected to, has
    somebody asked where the rules say so, and records the decision; None where nobody records.
    """

    subject: Subject
    listed: tuple[str, ...]
    workspace: Workspace
    servers: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    sandbox: Sandbox | None = None
    confinement: Confinement | None = None
    suspicious: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
    starting: Callable[[ServerStart], Awaitable[Decision]] | None = None


@dataclass(frozen=True, slots=True)
class ToolsServed:
    """The tools by name, `server/tool`, and why listed ones are not among them.

    `fingerprints` are the SHA-256 of what is told of each tool, in hexadecimal, as `McpRequest` has
    it.
    """

    tools: Mapping[str, Tool]
    absent: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)


class ToolSource(Protocol):
    """Tools that are known only once somebody is asked, such as those of servers."""

    async def tools(self, wanted: ToolsWanted) -> ToolsServed:
        """The tools that exist for one agent.

        Whatever goes wrong with one server is told in `absent`, and harms nobody else. What agents
        share belongs to the source, and ends with it.
        """
        ...


@runtime_checkable
class Policy(Protocol):
    """A further opinion on tool calls: it can deny or ask, and never widens."""

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        """Judge one request; None has no opinion. Sync and pure: same request, same answer."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What an agent must be allowed before one tool call runs.

    `id` tells the questions of a run apart; `tool_call_id` is the model's name for the call, empty
    where it has none. `requests` are everything that the call would touch,
    `needing` those of them that somebody has to answer for; `reason` and `rule` say why.
    `arguments` is the JSON text that the model wrote, without what is known to be secret; it is
    empty for what comes up while a call runs. `in_doubt` says that the call may have been made
    before an interruption: whoever answers has to look, and cannot have answered beforehand.
    """

    id: str
    agent_id: str
    agent_name: str
    tool: str
    requests: tuple[PermissionRequest, ...]
    needing: tuple[PermissionRequest, ...]
    reason: str
    rule: str = ""
    tool_call_id: str = ""
    arguments: str = ""
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """The answer: not at all, this one call, or the same by this agent until the run ends.

    `by` says who answered, such as `terminal`.
    """

    answer: Literal["deny", "once", "run"]
    reason: str = ""
    by: str = ""


class Approver(Protocol):
    """Who answers `ask`."""

    async def ask(self, question: Question) -> Approval:
        """Answer one question; cancelled when it is answered elsewhere, too late, or not needed.

        Questions of several agents may be asked at once.
        """
        ...


class Hold(Protocol):
    """A reservation, until exactly one of its methods ends it; ending it twice changes nothing."""

    @property
    def amount(self) -> Amount: ...

    def settle(self, actual: Amount) -> Amount:
        """Book what was billed. Returns by how much it exceeds the hold (all zero if it fits).

        An excess is booked in full and closes the path for new holds: every node from here up to
        the topmost one that limits the unit. An excess in a unit that nobody limits closes nothing.
        """
        ...

    def charge(self) -> None:
        """Book the hold in full: what was billed is not known."""
        ...

    def release(self) -> None:
        """Give it back: nothing was sent, or an error status came back."""
        ...


@dataclass(frozen=True, slots=True)
class Busy:
    """It would fit if calls in flight came in below their holds: wait for `room`."""

    node: str
    unit: str
    asked: int
    left: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It does not fit, even if everything in flight came in at nothing.

    `closed` says that the node takes nothing any more: it ended, or a bill exceeded its hold.
    `remedy` is said where the limit is not the run's own: what it is, and how it is changed.
    """

    node: str
    unit: str
    asked: int
    left: int
    closed: bool = False
    remedy: str = ""


class BudgetNode(Protocol):
    """One level of the ledger: a run, an agent, a share of one."""

    @property
    def node_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    def open(self, name: str, limits: Limits) -> BudgetNode:
        """Make a child. Its own limits may exceed the parent's: the smaller always counts.

        Below a closed node it can be made, and refuses every hold.
        """
        ...

    def reserve(self, amount: Amount) -> Hold | Busy | Refused:
        """Reserve on every level from here to the root, or on none. Sync, atomic.

        What would fit is `Busy` while somebody on its path waits for the same units: nobody
        overtakes.
        """
        ...

    async def room(self, amount: Amount) -> None:
        """Wait, first come first served, until `reserve` may succeed; then try again.

        Raises:
            BudgetRefused: it can not fit any more.
        """
        ...

    def left(self, unit: str) -> int | None:
        """The most that could be reserved now, the whole path considered; None without limits.

        0 once the path is closed. Who waits for room is not considered.
        """
        ...

    def limited(self, unit: str) -> bool:
        """Whether this node or an ancestor limits the unit."""
        ...

    def state(self) -> BudgetState: ...

    def close(self) -> BudgetState:
        """End the node: no further holds; those still open are charged in full."""
        ...


@runtime_checkable
class WindowedNode(BudgetNode, Protocol):
    """A node above which windows of spend may stand, that other runs spend of as well."""

    def windows(self) -> Sequence[SpendWindow]:
        """The windows that have a limit, as they are now or were a second ago."""
        ...


class Budget(Protocol):
    """The ledger, and what things cost in it."""

    def root(self, name: str, limits: Limits) -> BudgetNode: ...

    def price_of(self, info: ModelInfo) -> Price | None:
        """The price of a model, or None when none is known; local models cost nothing."""
        ...

    def quote(self, info: ModelInfo, bound: Bound) -> Amount:
        """What an attempt may cost at most: dearest applicable rates, rounded up, one request.

        A model without a known price is quoted at no USD: under a USD limit ask `price_of` first.
        """
        ...

    def bill(self, info: ModelInfo, usage: Usage) -> Amount:
        """What an attempt did cost."""
        ...

    def shrink(self, node: BudgetNode, info: ModelInfo, bound: Bound) -> Bound | None:
        """The same input with the largest output that fits now.

        None when that is below `info.min_output_tokens`, or when USD are limited and the model has
        no known price.
        """
        ...


@runtime_checkable
class ShiftingBudget(Budget, Protocol):
    """A ledger that can pass on what one node has left of its limits."""

    def shift(self, giver: BudgetNode, taker: BudgetNode, amount: Amount) -> Amount:
        """Lower the limits of one node and raise those of a sibling by as much. Sync, atomic.

        At most what the giver, which may be closed, has neither spent nor held; nothing of a unit
        that one of the two does not limit, and nothing to a node that is closed. Returns what
        moved. No level above changes, so that `spent + held <= limit` goes on to hold on each.

        Raises:
            ValueError: they are no siblings, or a quantity is below zero.
        """
        ...


class EventSink(Protocol):
    """Where events go. All methods but `durable` are sync; calls come from one thread at a time."""

    @property
    def persistent(self) -> bool:
        """Whether events survive the process. A run needs one such sink."""
        ...

    def write(self, events: Sequence[Event]) -> None:
        """Take events, in order, all or none. On return they survive `kill -9` (if persistent).

        Raises:
            RecordError: they were not taken.
        """
        ...

    async def durable(self) -> None:
        """Return when everything written so far survives a power cut (if persistent).

        Raises:
            RecordError: it does not.
        """
        ...

    def child_handoff(self) -> Mapping[str, str]:
        """What a child process needs to write into the same record."""
        ...


@runtime_checkable
class LinkingSink(EventSink, Protocol):
    """A sink that ties the records of processes to those of the processes that started them."""

    def child_ended(self, handoff: Mapping[str, str]) -> None:
        """Record where the record of a process ends that `child_handoff` was called for.

        Raises:
            RecordError: it cannot be written.
        """
        ...


@runtime_checkable
class ContentSink(EventSink, Protocol):
    """A sink that may keep texts beside events: arguments, results, prompts and answers."""

    @property
    def keeps_content(self) -> bool:
        """Whether it does; if not, nobody calls `keep`."""
        ...

    def keep(self, text: str) -> str | None:
        """Keep a text, which holds no secret any more, before the event that names it is written.

        Returns the SHA-256 of its UTF-8 in hexadecimal, or None where this one is not kept.

        Raises:
            RecordError: it cannot be written.
        """
        ...


class Admission(Protocol):
    """Says when a call of a local model may start, and sees that the model is there by then."""

    def governs(self, info: ModelInfo) -> bool:
        """Whether calls of this model wait here."""
        ...

    def place(
        self, info: ModelInfo, told: Callable[[Mapping[str, Any]], None], agent: str = ""
    ) -> AbstractAsyncContextManager[None]:
        """Wait until the model is loaded, and keep it while the block runs.

        `agent` is the name of the agent that calls, empty where none does.
        `told` hears each decision with the numbers that it was made from, as JSON values; `outcome`
        is `placed`, `joined`, `queued` or `refused`.

        Raises:
            ModelError: it can never be loaded here, or not soon enough.
        """
        ...
