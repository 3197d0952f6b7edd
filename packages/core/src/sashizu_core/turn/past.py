"""What one agent instance did before, step by step, and what the outside answered.

A replay takes every outcome from here and asks nobody; a run that goes on takes what there is, and
asks the outside from then on.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sashizu_core.errors import Diverged, ModelError, SashizuError
from sashizu_core.events import Event
from sashizu_core.types import (
    Completion,
    Decision,
    Message,
    Outcome,
    StepKind,
    ToolCall,
    ToolResult,
    Usage,
)

if TYPE_CHECKING:
    from sashizu_core.turn.record import Recorder

__all__ = [
    "NOT_COMPARED",
    "AgentPast",
    "RecordedStep",
    "StoppedAsRecorded",
    "compared",
    "differences",
]

Fields = Mapping[str, Any]

NOT_COMPARED = frozenset(
    {
        *("v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h"),
        *("actor", "run_id", "conversation_id", "agent_id", "parent_agent_id"),
        *("trace_id", "span_id", "parent_span_id", "budget_id", "replay_of"),
        *("duration_ns", "redactions"),
    }
)
"""Columns that are ids or times, or that say who asked."""

_INTENTS = ("model.requested", "tool.requested")
_OUTCOMES = ("model.answered", "model.failed", "tool.ended")
_STOPS = {"cancelled": Outcome.CANCELLED, "timeout": Outcome.DEADLINE}


class StoppedAsRecorded(Exception):
    """The recorded agent was stopped at this point."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


def compared(fields: Fields) -> dict[str, Any]:
    """The columns of an event that say the same in a run and in its replay."""
    return {
        name: value
        for name, value in fields.items()
        if name not in NOT_COMPARED and value is not None
    }


def differences(was: Fields, now: Fields) -> list[tuple[str, Any, Any]]:
    """The columns in which two events differ, with both values; None is for none."""
    old, new = _plain(compared(was)), _plain(compared(now))
    return [
        (name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _plain(fields: Fields) -> dict[str, Any]:
    """As JSON has it: what was read and what is about to be written look the same."""
    plain: dict[str, Any] = json.loads(json.dumps(fields, default=str))
    return plain


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step. `before` are the events up to its start, `within` those that came while it ran.

    `after` begins with its outcome; empty where it has none.
    """

    seq: int
    before: tuple[Fields, ...]
    within: tuple[Fields, ...]
    after: tuple[Fields, ...]

    @classmethod
    def of(cls, seq: int, events: Sequence[Fields]) -> RecordedStep:
        kinds = [str(event["kind"]) for event in events]
        end = next((i for i, kind in enumerate(kinds) if kind in _OUTCOMES), len(events))
        start = next((i for i, kind in enumerate(kinds) if kind in _INTENTS), -1) + 1
        if (
            start < end
            and kinds[start] == "tool.decided"
            and not _asked_while_running(events[start])
        ):
            start += 1
        start = min(start, end)
        return cls(seq, tuple(events[:start]), tuple(events[start:end]), tuple(events[end:]))

    @property
    def intent(self) -> Fields:
        """What was about to be done; empty where that is not on record."""
        return next((event for event in self.before if event["kind"] in _INTENTS), {})

    @property
    def outcome(self) -> Fields:
        """What came of it; empty where that is not known."""
        return self.after[0] if self.after else {}

    @property
    def finished(self) -> bool:
        """Whether its outcome is known; one that was cut off may or may not have done something."""
        return bool(self.after) and self.outcome.get("status") != "cancelled"

    @property
    def repeated(self) -> bool:
        """Whether it was taken from the record of an earlier run."""
        return self.intent.get("replay_of") is not None

    @property
    def kind(self) -> StepKind | None:
        said = self.intent.get("step_kind")
        return StepKind(said) if said else None

    def first(self, kind: str) -> Fields:
        """Its first event of a kind; empty where there is none."""
        every = (*self.before, *self.within, *self.after)
        return next((event for event in every if event["kind"] == kind), {})


def _asked_while_running(event: Fields) -> bool:
    return "request" in (event.get("attrs") or {})


class AgentPast:
    """The recorded history of one agent instance, taken from the front.

    `recomputes` says that events are made anew, to be compared, and not copied. A `strict` history
    is all there is: the agent does nothing that is not in it. `text` gives a text by its digest and
    raises where it is not kept. `diverged` hears of everything that is not as it was.
    `goes_on_as` is the id of the agent instance that repeats it, empty before there is one;
    `started_in` are the steps in which it started agents. `moved` says that its texts are not
    those that were recorded; `keep` then keeps them anew with what is copied.
    """

    def __init__(
        self,
        agent_id: str,
        name: str,
        events: Iterable[Fields],
        text: Callable[[str], str],
        *,
        run_id: str,
        recomputes: bool,
        strict: bool,
        diverged: Callable[[Diverged], None],
    ) -> None:
        self.agent_id = agent_id
        self.name = name
        self.run_id = run_id
        self.recomputes = recomputes
        self.strict = strict
        self.started: Fields = {}
        self.ended: Fields = {}
        self.goes_on_as = ""
        self.started_in: set[int] = set()
        self.moved = False
        self.keep: Callable[[str], Mapping[str, Any]] | None = None
        self.text = text
        self._diverged = diverged
        self._line: deque[tuple[str, Fields]] = deque()
        self._seen: deque[int] = deque()
        self.steps = self._read(events)

    def _read(self, events: Iterable[Fields]) -> dict[int, RecordedStep]:
        by_step: dict[int, list[Fields]] = {}
        for event in events:
            kind, step = str(event["kind"]), event.get("step")
            if kind == "agent.started":
                self.started = event
            elif kind == "agent.ended":
                self.ended = event
            elif kind in ("budget.refused", "budget.degraded") and step is None:
                self._line.append((kind, event))
            if step is None:
                continue
            by_step.setdefault(int(step), []).append(event)
            if kind == "model.requested":
                self._line.append((kind, event))
                self._seen += (event.get("attrs") or {}).get("seen", ())
        return {seq: RecordedStep.of(seq, found) for seq, found in by_step.items()}

    # --- where it is ------------------------------------------------------------------------------

    @property
    def stop(self) -> Outcome | None:
        """How it was stopped; None where it ended by itself, or its end is not known."""
        return _STOPS.get(str(self.ended.get("status")))

    @property
    def depth(self) -> int:
        """How many agents are above it."""
        return int(self.started.get("depth") or 0)

    @property
    def final(self) -> bool:
        """Whether it ended by itself."""
        return bool(self.ended) and self.stop is None

    def anew(self, known: RecordedStep) -> bool:
        """Whether a step's events are made anew; what was itself a repetition is copied."""
        return self.recomputes and not known.repeated

    def in_doubt(self) -> list[RecordedStep]:
        """Steps that may have had an effect, and whose outcome nobody knows."""
        return [
            step
            for step in self.steps.values()
            if step.kind is StepKind.EFFECT
            and step.intent.get("op") == "execute_tool"
            and not step.finished
            and step.first("tool.decided").get("decision") == "allow"
        ]

    @property
    def last_seq(self) -> int:
        """The highest number of a step; -1 without any."""
        return max(self.steps, default=-1)

    def seen(self, now: int) -> int:
        """What the agent saw of its budget at this point; `now` where that is not known."""
        return self._seen.popleft() if self._seen else now

    def next_of_line(self) -> tuple[str, Fields] | None:
        """What comes next of model calls, refusals and changes of the budget; stays where it is."""
        return self._line[0] if self._line else None

    def take_of_line(self) -> Fields:
        return self._line.popleft()[1]

    # --- steps ------------------------------------------------------------------------------------

    def take(self, intent: Sequence[Event]) -> RecordedStep | None:
        """The recorded step that is about to be made again; None where it is a new one.

        Raises:
            Diverged: another one is recorded here, or none and nothing may be added.
            StoppedAsRecorded: the agent was stopped before it.
        """
        asked = next(event for event in intent if event.kind in _INTENTS)
        seq = int(asked.fields["step"])  # type: ignore[call-overload]
        known = self.steps.get(seq)
        if known is None or not known.intent:
            if not self.strict:
                return None
            if self.stop is not None:
                raise StoppedAsRecorded(self.stop)
            raise self.differs(seq, "nothing: the agent had ended", _told(asked.kind, asked.fields))
        if self.anew(known):
            self.compare(known, intent)
        if known.finished or self.strict:
            return known
        return None

    def compare(self, known: RecordedStep, intent: Sequence[Event]) -> None:
        """Hold what is about to be asked against what was.

        Raises:
            Diverged: it is something else.
        """
        recorded = [event for event in known.before if not event["kind"].startswith("budget.")]
        asked = [event for event in intent if not event.kind.startswith("budget.")]
        for was, now in zip(recorded, asked, strict=False):
            if was["kind"] != now.kind or differences(was, now.fields):
                told = self._difference(was, now)
                raise self.differs(known.seq, *told)
        if len(recorded) != len(asked):
            both = (", ".join(e["kind"] for e in recorded), ", ".join(e.kind for e in asked))
            raise self.differs(known.seq, *both)

    def _difference(self, was: Fields, now: Event) -> tuple[str, str]:
        if was["kind"] != now.kind:
            return _told(was["kind"], was), _told(now.kind, now.fields)
        found = differences(was, now.fields)
        names = [name for name, _, _ in found]
        if names == ["blobs"]:
            old, new = found[0][1] or [], found[0][2] or []
            return self._first_other_line(old, new)
        parts = [(f"{name}={old!r}", f"{name}={new!r}") for name, old, new in found]
        return ", ".join(old for old, _ in parts), ", ".join(new for _, new in parts)

    def _first_other_line(self, old: Sequence[str], new: Sequence[str]) -> tuple[str, str]:
        """The first line in which the texts of two requests differ."""
        lines = [self._lines(digests) for digests in (old, new)]
        at = 0
        while at < min(map(len, lines)) and lines[0][at] == lines[1][at]:
            at += 1
        shown = [repr(each[at][:200]) if at < len(each) else "nothing" for each in lines]
        return shown[0], shown[1]

    def _lines(self, digests: Sequence[str]) -> list[str]:
        found = []
        for digest in digests:
            try:
                found += self.text(digest).splitlines()
            except SashizuError:
                found.append(f"[the text {digest[:12]} is not kept]")
        return found

    def differs(self, seq: int, recorded: str, asked: str) -> Diverged:
        """The error to raise for a step that is not as it was; the run hears of it."""
        found = Diverged(self.name, seq, recorded, asked)
        self._diverged(found)
        return found

    def copies(self, events: Iterable[Fields], recorder: Recorder) -> list[Event]:
        """Recorded events once more, under the ids of who repeats them."""
        made = []
        for event in events:
            own = {
                name: value
                for name, value in event.items()
                if value is not None and name not in recorder.context and name not in _SET_BY_SINKS
            }
            if self.keep is not None and "blobs" in own:
                own["blobs"] = [self._kept_anew(self.keep, str(digest)) for digest in own["blobs"]]
            made.append(recorder.event(str(event["kind"]), {**own, "replay_of": self.run_id}))
        return made

    def _kept_anew(self, keep: Callable[[str], Mapping[str, Any]], digest: str) -> str:
        kept = keep(self.text(digest)).get("blobs")
        return str(kept[0]) if kept else digest

    # --- what the outside answered ----------------------------------------------------------------

    def completion(self, step: RecordedStep) -> Completion:
        """What a model answered.

        Raises:
            ModelError: the attempt failed, as it did then.
        """
        outcome = step.outcome
        attrs = outcome.get("attrs") or {}
        if outcome["kind"] == "model.failed":
            raise ModelError(
                f"recorded: {outcome.get('error_type')}",
                fault=outcome.get("error_type") or "transport",
                sent=bool(step.first("budget.settled")),
                retry_after_s=attrs.get("retry_after_s"),
                usage=_usage(outcome),
                status=attrs.get("http_status"),
            )
        told = json.loads(self.content(outcome))
        message = Message(
            "assistant",
            told["content"],
            tuple(ToolCall(*call) for call in told["tool_calls"]),
            opaque=told.get("opaque"),
        )
        return Completion(
            message,
            _usage(outcome),
            outcome["finish_reason"],
            outcome.get("model_used") or "",
            outcome.get("response_id") or "",
            outcome.get("ttft_ns"),
        )

    def decision(self, seq: int) -> Decision | None:
        """What was decided on a call before it was made; None where that is not on record."""
        known = self.steps.get(seq)
        told = (
            next((e for e in known.before if e["kind"] == "tool.decided"), None) if known else None
        )
        if known is None or told is None:
            return None
        denied = known.first("security.denied")
        reason = told.get("decision_reason") or denied.get("decision_reason") or ""
        return Decision(
            told["decision"],
            str(reason),
            str(told.get("decision_rule") or ""),
            told["decided_by"],
            str((told.get("attrs") or {}).get("source") or ""),
        )

    def result(self, step: RecordedStep) -> ToolResult:
        """What a tool answered."""
        outcome = step.outcome
        return ToolResult(
            self.content(outcome),
            outcome.get("status") != "ok",
            outcome.get("error_type") or "",
        )

    def content(self, outcome: Fields) -> str:
        """The text of an outcome; empty where it had none."""
        blobs = outcome.get("blobs") or ()
        if not blobs:
            if outcome.get("result_sha256") not in (None, sha256(b"").hexdigest()):
                raise SashizuError(
                    f"what step {outcome.get('step')} of {self.name!r} gave is not kept: "
                    "the record has its digest alone"
                )
            return ""
        return self.text(str(blobs[0]))


_SET_BY_SINKS = frozenset(
    {"v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h", "replay_of"}
)


def _usage(outcome: Fields) -> Usage | None:
    if outcome.get("input_tokens") is None:
        return None
    return Usage(
        int(outcome["input_tokens"]),
        int(outcome.get("output_tokens") or 0),
        int(outcome.get("cache_read_tokens") or 0),
        int(outcome.get("cache_write_tokens") or 0),
        int(outcome.get("reasoning_tokens") or 0),
    )


def _told(kind: str, fields: Fields) -> str:
    """A step in a few words."""
    what = fields.get("tool") or fields.get("model") or ""
    return f"{kind} {what}".strip()
