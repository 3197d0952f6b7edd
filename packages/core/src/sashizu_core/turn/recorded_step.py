"""One step as it is recorded: how it began, what came while it ran, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sashizu_core.types import Decision, StepKind

__all__ = ["INTENTS", "OUTCOMES", "RESTORE_FILES", "UNKNOWN_OUTCOME", "RecordedStep"]

Fields = Mapping[str, Any]

RESTORE_FILES = "restore_files"
"""What it is to give a folder the files of another agent; it has no number, being no step of it."""

UNKNOWN_OUTCOME = (
    "Whether this was done is not known: the run was interrupted while it ran. Look at what is "
    "there before it is done again."
)
"""What a model, and whoever is asked, is told of a call that may have had its effect."""

INTENTS = ("model.requested", "tool.requested")
OUTCOMES = ("model.answered", "model.failed", "tool.ended")


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
        end = next((i for i, kind in enumerate(kinds) if kind in OUTCOMES), len(events))
        start = next((i for i, kind in enumerate(kinds) if kind in INTENTS), -1) + 1
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
        return next((event for event in self.before if event["kind"] in INTENTS), {})

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

    @property
    def decision(self) -> Decision | None:
        """What was decided before it was done; None where that is not on record."""
        told = next((event for event in self.before if event["kind"] == "tool.decided"), None)
        if told is None:
            return None
        denied = self.first("security.denied")
        reason = told.get("decision_reason") or denied.get("decision_reason") or ""
        return Decision(
            told["decision"],
            str(reason),
            str(told.get("decision_rule") or ""),
            told["decided_by"],
            str((told.get("attrs") or {}).get("source") or ""),
        )

    def first(self, kind: str) -> Fields:
        """Its first event of a kind; empty where there is none."""
        every = (*self.before, *self.within, *self.after)
        return next((event for event in every if event["kind"] == kind), {})


def _asked_while_running(event: Fields) -> bool:
    return "request" in (event.get("attrs") or {})
