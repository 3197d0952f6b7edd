"""What one agent instance did before, step by step, and what the outside answered.

A replay takes every outcome from here and asks nobody; a run that goes on takes what there is, and
asks the outside from then on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sashizu_core.errors import Diverged, SashizuError
from sashizu_core.events import Event
from sashizu_core.turn.past_columns import differences
from sashizu_core.turn.recorded_step import INTENTS, RESTORE_FILES, RecordedStep
from sashizu_core.types import Outcome, StepKind

if TYPE_CHECKING:
    from sashizu_core.turn.record import Recorder

__all__ = ["AgentPast", "StoppedAsRecorded"]

Fields = Mapping[str, Any]

_STOPS = {"cancelled": Outcome.CANCELLED, "timeout": Outcome.DEADLINE}


class StoppedAsRecorded(Exception):
    """The recorded agent was stopped at this point."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


class AgentPast:
    """The recorded history of one agent instance, taken from the front.

    `recomputes` says that events are made anew, to be compared, and not copied. A `strict` history
    is all there is: the agent does nothing that is not in it. `text` gives a text by its digest and
    raises where it is not kept. `diverged` hears of everything that is not as it was.
    `forked` says that it goes on beside the recorded one, whose folder stays its own; `unchanged`
    that no file was changed from where it goes on until the recorded one ended; `restored` are the
    events of giving its folder the files of another.
    `goes_on_as` is the id of the agent instance that repeats it, empty before there is one;
    `started_in` are the steps in which it started agents. `moved` says that its texts are not
    those that were recorded; `keep` then keeps them anew with what is copied. `in_place` says that
    it goes on in the same record, as itself: nothing is copied.
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
        self.forked = False
        self.in_place = False
        self.unchanged = False
        self.restored: list[Fields] = []
        self.keep: Callable[[str], Mapping[str, Any]] | None = None
        self.text = text
        self._diverged = diverged
        self._line: deque[tuple[str, Fields]] = deque()
        self._seen: deque[int] = deque()
        self.events = tuple(events)
        self.steps = self._read(self.events)

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
            elif event.get("op") == RESTORE_FILES:
                self.restored.append(event)
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
            if step.kind is StepKind.EFFECT and not step.finished and _had_begun(step)
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
        asked = next(event for event in intent if event.kind in INTENTS)
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
        if self.in_place:
            return []
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

    def content(self, outcome: Fields) -> str:
        """The text of an outcome; empty where it had none.

        Raises:
            SashizuError: it is not kept.
        """
        blobs = outcome.get("blobs") or ()
        if not blobs:
            if outcome.get("result_sha256") not in (None, sha256(b"").hexdigest()):
                raise SashizuError(
                    f"what step {outcome.get('step')} of {self.name!r} gave is not kept: "
                    "the record has its digest alone"
                )
            return ""
        return self.text(str(blobs[0]))


def _had_begun(step: RecordedStep) -> bool:
    op = step.intent.get("op")
    allowed = step.first("tool.decided").get("decision") == "allow"
    return op == "run_hook" or (op == "execute_tool" and allowed)


_SET_BY_SINKS = frozenset(
    {"v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h", "replay_of"}
)


def _told(kind: str, fields: Fields) -> str:
    """A step in a few words."""
    what = fields.get("tool") or fields.get("model") or ""
    return f"{kind} {what}".strip()
