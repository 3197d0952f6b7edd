"""The values that pass between packages: frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from sashizu_core.ids import AgentId, RunId

__all__ = [
    "UNITS",
    "AgentReport",
    "AgentStatus",
    "Amount",
    "Artifact",
    "BackendUse",
    "Bound",
    "BudgetState",
    "ChangedFile",
    "Changes",
    "Completion",
    "Criterion",
    "Decision",
    "FinishReason",
    "Limits",
    "MergeConflict",
    "MergePlan",
    "Message",
    "ModelInfo",
    "ModelRequest",
    "Outcome",
    "PreviousCall",
    "Price",
    "Role",
    "RunReport",
    "SpendWindow",
    "StepKey",
    "StepKind",
    "Task",
    "ToolCall",
    "ToolResult",
    "ToolSchema",
    "Usage",
]

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]
AgentStatus = Literal["ok", "error", "timeout", "cancelled"]

UNITS = ("tokens", "nusd", "requests", "agents")
"""The units that are summed up the tree, in the order in which refusals name them."""


# --- what is asked of a model, and what it answers ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more model calls used, in tokens as the provider counts them.

    `input_tokens` includes `cache_read_tokens` and `cache_write_tokens`; `output_tokens` includes
    `reasoning_tokens`. `requests` counts attempts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 1

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
        )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Message:
    """One entry of a conversation. Compared by identity, so that encodings can be kept beside it.

    `tool_calls` only with role `assistant`; `tool_call_id` and `is_error` only with role `tool`.
    `opaque` is what a provider wants back unchanged with this message (encrypted reasoning, say):
    JSON values under the provider's name.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False
    opaque: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as a model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PreviousCall:
    """The last successful call of a conversation, from which the next input can be bounded.

    `messages` is how many messages its request held; `usage` what it was billed.
    The next request qualifies only if it starts with the same messages (by identity) and model,
    tools and settings are unchanged.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...]
    output_schema: Mapping[str, Any] | None
    effort: str | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call, before it is priced.

    `max_output_tokens` caps the output, reasoning included; None lets the model's own cap decide.
    `output_schema` is the JSON Schema of the final answer. `deadline` is in `anyio.current_time()`.
    `on_text` is called with each piece of streamed answer text, synchronously.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...] = ()
    max_output_tokens: int | None = None
    effort: str | None = None
    output_schema: Mapping[str, Any] | None = None
    previous: PreviousCall | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. `message.role` is `assistant`.

    `usage` is None when the provider did not say; `ttft_ns` is the time to the first content event
    in nanoseconds; `model` is what the provider says answered. `backend` is what really computed
    it, for models that more than one thing can: the system, a device, or a fake. Empty elsewhere.
    """

    message: Message
    usage: Usage | None
    finish_reason: FinishReason
    model: str = ""
    response_id: str = ""
    ttft_ns: int | None = None
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in 10⁻⁹ USD per token (1 USD per million tokens = 1,000).

    `long_context_*` apply to every token of a call whose input exceeds `long_context_from`. A cache
    rate that is None is that of the input. `source` and `date` (ISO 8601) say where the figures
    come from.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    long_context_from: int | None = None
    long_context_input: int | None = None
    long_context_output: int | None = None
    long_context_cache_read: int | None = None
    long_context_cache_write: int | None = None
    per_request: int = 0
    source: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known about a model without calling it.

    `name` is the full name (`openai/gpt-5`), `provider` the part that prices and limiters are kept
    by, `endpoint` tells endpoints of one provider apart (never holds a key). Windows and caps are
    in tokens. `local` models cost nothing. `price` overrides the price list.
    `min_output_tokens` is the least output cap worth a call.
    `bills_tokens` is False for models that use no language model at all. `counts` says that
    `Model.count` asks the provider, which makes it a call to the outside. `efforts` are the
    reasoning efforts that it can be asked for, the lowest first; empty where it takes none.
    """

    name: str
    provider: str
    endpoint: str = ""
    context_window: int | None = None
    max_output_tokens: int | None = None
    min_output_tokens: int = 256
    local: bool = False
    price: Price | None = None
    bills_tokens: bool = True
    counts: bool = False
    efforts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound of what a call can be billed, in tokens. `rule` says how it was found."""

    input_tokens: int
    output_tokens: int
    rule: str

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def with_output(self, most: int) -> Bound:
        """The same input with at most so much output."""
        return replace(self, output_tokens=min(self.output_tokens, most))


# --- budget -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity in every unit of the ledger. `nusd` is in 10⁻⁹ USD."""

    tokens: int = 0
    nusd: int = 0
    requests: int = 0
    agents: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.tokens + other.tokens,
            self.nusd + other.nusd,
            self.requests + other.requests,
            self.agents + other.agents,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node of the tree may use; None is no limit of its own.

    The first four are summed up the tree; `seconds` is a deadline and, like `depth`,
    `agents_alive` and `spawn_rate` (per minute), taken as the minimum down the tree.
    """

    tokens: int | None = None
    nusd: int | None = None
    requests: int | None = None
    agents: int | None = None
    seconds: float | None = None
    depth: int | None = None
    agents_alive: int | None = None
    spawn_rate: int | None = None

    @property
    def counted(self) -> bool:
        """Whether any unit is limited that a ledger has to count."""
        return any(getattr(self, unit) is not None for unit in UNITS)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A node of the ledger at one instant: `spent + held <= limit` in every unit but overruns."""

    node_id: str
    name: str
    limits: Limits
    spent: Amount
    held: Amount
    overrun: Amount

    def left(self, unit: str) -> int | None:
        """What can still be reserved at this node alone, never below 0; None without a limit."""
        limit = getattr(self.limits, unit)
        if limit is None:
            return None
        return max(0, int(limit - getattr(self.spent, unit) - getattr(self.held, unit)))


@dataclass(frozen=True, slots=True)
class SpendWindow:
    """A limit that all runs of a user share, as it stands: `day 2026-11-21`.

    `spent` and `held` are those of all processes together. `starts_anew` is None for one that never
    does.
    """

    name: str
    limits: Limits
    spent: Amount
    held: Amount
    starts_anew: datetime | None = None

    def left(self, unit: str) -> int | None:
        """What can still be held, never below 0; None without a limit."""
        limit = getattr(self.limits, unit)
        if limit is None:
            return None
        return max(0, int(limit - getattr(self.spent, unit) - getattr(self.held, unit)))


# --- steps --------------------------------------------------------------------------------------


class StepKind(StrEnum):
    """What a step does to the outside, and so how durable its record must be."""

    PURE = "pure"
    MODEL = "model"
    IDEMPOTENT = "idempotent"
    EFFECT = "effect"
    CHILD = "child"

    @property
    def durable(self) -> bool:
        """Whether intent and outcome wait for the disk."""
        return self in (StepKind.EFFECT, StepKind.CHILD)


@dataclass(frozen=True, slots=True)
class StepKey:
    """Names a step for ever. `seq` counts the steps of one agent instance from 0."""

    run_id: RunId
    agent_id: AgentId
    seq: int


# --- tools and permission -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answers. `content` goes to the model.

    `error_type` is one word for the record where `is_error`; empty leaves it to what was raised.
    `backend` is what really did it, for tools that more than one thing can carry out.
    """

    content: str
    is_error: bool = False
    error_type: str = ""
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of the permission engine to one tool call.

    `rule` is the text of the rule that decided, `source` where it was read (`FILE:LINE`, or whose
    grants they are), `decided_by` one of `rule`, `user`, `policy`, `default`.
    """

    verdict: Literal["allow", "deny", "ask"]
    reason: str
    rule: str = ""
    decided_by: Literal["rule", "user", "policy", "default"] = "default"
    source: str = ""

    @property
    def allowed(self) -> bool:
        return self.verdict == "allow"


# --- what is asked of agents, and what they report ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of one agent in a run.

    `scope` are paths the agent should look at, relative to the workspace or absolute; `model`
    overrides the definition's; `limits` narrow the definition's; `deadline_s` is in seconds.
    """

    agent: str
    goal: str = ""
    scope: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    limits: Limits = Limits()
    deadline_s: float | None = None


class Outcome(StrEnum):
    """How an agent instance ended."""

    ANSWERED = "answered"
    BUDGET = "budget"
    DEADLINE = "deadline"
    TURN_LIMIT = "turn_limit"
    CANCELLED = "cancelled"
    MODEL_FAILED = "model_failed"
    TRUNCATED = "truncated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One success criterion of an agent, judged in its final answer."""

    text: str
    verdict: Literal["met", "not met", "not checked"]
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A declared file that exists after the run. `path` is relative to the workspace."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One file that an agent changed. `path` is relative to the repository."""

    path: str
    change: Literal["added", "modified", "deleted"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one agent instance changed, kept as a commit.

    `base` and `commit` are object names, `branch` is where the commit stands, `folder` the absolute
    path of the files. `left_out` are paths that could not be committed and lie in the folder only.
    """

    branch: str
    base: str
    commit: str
    folder: str
    files: tuple[ChangedFile, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackendUse:
    """What really carried out calls of a model or tool that more than one thing can; how often."""

    kind: Literal["model", "tool"]
    name: str
    backend: str
    calls: int


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What became of one agent instance.

    `usage` is what was billed; `doubtful_tokens` are those of calls that were sent and never came
    back with a bill, which count against the budget all the same. `budget` is None when the run had
    no ledger. `error` is a message for a person, empty when the agent answered. `missing` are
    declared artifacts that do not exist. `changes` is what it changed
    in a folder of its own, None where it had none or changed nothing.
    `backends` says what really answered, for models and tools that more than one thing can do.
    `children` are the reports of the agents that it started, in the order in which they ended;
    `usage` and `doubtful_tokens` are without theirs, `budget` is with them.
    """

    agent: str
    agent_id: AgentId
    status: AgentStatus
    outcome: Outcome
    answer: str
    criteria: tuple[Criterion, ...]
    artifacts: tuple[Artifact, ...]
    missing: tuple[str, ...]
    usage: Usage
    budget: BudgetState | None
    steps: int
    duration_s: float
    error: str = ""
    conversation_id: str = ""
    changes: Changes | None = None
    doubtful_tokens: int = 0
    children: tuple[AgentReport, ...] = ()
    backends: tuple[BackendUse, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def tree(self) -> Iterator[AgentReport]:
        """This report, and those of all agents below, each after the one that started it."""
        yield self
        for child in self.children:
            yield from child.tree()


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """Paths where what an agent changed does not fit what is there, relative to the repository."""

    agent: str
    agent_id: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What merging would do with what the agents of a run changed, in the order of the agents.

    `clean` are ids of agents whose changes apply, `overlaps` the paths that several agents changed.
    """

    clean: tuple[str, ...]
    conflicts: tuple[MergeConflict, ...]
    overlaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of a run: one report per task, in the order in which they were asked.

    `merge` is None where no agent changed anything in a folder of its own. `warnings` are sentences
    for a person about what could not be kept.
    """

    run_id: RunId
    requested_agents: tuple[str, ...]
    resolved_agents: tuple[str, ...]
    results: Sequence[AgentReport]
    budget: BudgetState | None
    duration_s: float
    merge: MergePlan | None = None
    warnings: tuple[str, ...] = ()

    @property
    def usage(self) -> Usage:
        """What all agents used, those that agents started included."""
        reports = (report for result in self.results for report in result.tree())
        return sum((report.usage for report in reports), Usage(requests=0))

    @property
    def success_count(self) -> int:
        return sum(result.ok for result in self.results)
