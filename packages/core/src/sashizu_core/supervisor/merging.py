"""Makes one answer of several: by joining, counting, measuring, never by a number made up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sashizu_core.runtime.verification import PREFIX
from sashizu_core.types import AgentReport

__all__ = [
    "MERGES",
    "Candidate",
    "Merge",
    "Merged",
    "Score",
    "Vote",
    "concatenated",
    "first_success",
    "highest",
    "judged_best",
    "needs_judge",
    "normalised",
    "verify_score",
    "voted",
]

Merge = Literal["concatenate", "voting", "first-success", "highest-score", "judge"]

MERGES: tuple[Merge, ...] = ("concatenate", "voting", "first-success", "highest-score", "judge")

TIE_RULE = "among equals the one with the higher verify score, then the earliest in the plan"

_EDGES = " \t\r\n.,;:!?*_`'\"#>-"


@dataclass(frozen=True, slots=True)
class Score:
    """How good an answer is, from 0 to 1, and what says so.

    `source` is `verify`, the part of an agent's commands that passed, or `judge`.
    """

    value: float
    source: Literal["verify", "judge"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several answers, in the order of the plan.

    `label` names it in reports; `ended` orders candidates by when they ended. `verify` is the score
    by its agent's own commands, `judge` that of the judge; None where there is none.
    """

    label: str
    agent_id: str
    answer: str
    ok: bool
    ended: int = 0
    verify: Score | None = None
    judge: Score | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer that was voted for: as it was compared, and by whom."""

    answer: str
    voters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """One answer made of several. `ok` is False where the rule of merging gives none.

    `chosen` is the label of the answer that was taken; empty where none was, or all were. `note`
    says by what rule. `scores` are by label, for those that have one.
    """

    merge: Merge
    ok: bool
    answer: str
    chosen: str = ""
    note: str = ""
    votes: tuple[Vote, ...] = ()
    scores: tuple[tuple[str, Score], ...] = ()


def verify_score(report: AgentReport) -> Score | None:
    """The part of an agent's own commands that passed; None where none ran."""
    ran = [each for each in report.criteria if each.text.startswith(PREFIX)]
    judged = [each for each in ran if each.verdict != "not checked"]
    if not judged:
        return None
    met = sum(each.verdict == "met" for each in judged)
    reason = f"{met} of {len(ran)} commands passed"
    return Score(met / len(ran), "verify", reason)


def concatenated(candidates: Sequence[Candidate]) -> Merged:
    """All answers that succeeded, in the order of the plan, each below a heading."""
    good = [each for each in candidates if each.ok]
    if not good:
        return _none("concatenate", candidates)
    if len(candidates) == 1:
        return Merged("concatenate", True, good[0].answer, good[0].label, "the only answer")
    parts = [f"# {each.label}\n\n{each.answer}" for each in good]
    missing = [each.label for each in candidates if not each.ok]
    note = f"{len(good)} of {len(candidates)} answers"
    if missing:
        note += f"; without {', '.join(missing)}"
    return Merged("concatenate", True, "\n\n".join(parts), "", note)


def first_success(candidates: Sequence[Candidate]) -> Merged:
    """The answer that succeeded before all others."""
    good = sorted((each for each in candidates if each.ok), key=lambda each: each.ended)
    if not good:
        return _none("first-success", candidates)
    first = good[0]
    return Merged("first-success", True, first.answer, first.label, "the first that succeeded")


def voted(candidates: Sequence[Candidate], field: str = "") -> Merged:
    """The answer that most candidates gave; every candidate that succeeded has one vote.

    Two answers are the same if they are after `normalised`, or if the values at `field`, a path
    such as `verdict` or `result.answer`, are where the answers are JSON.
    """
    groups: dict[str, list[Candidate]] = {}
    for each in candidates:
        key = normalised(each.answer, field) if each.ok else None
        if key is not None:
            groups.setdefault(key, []).append(each)
    if not groups:
        what = f"no answer is JSON with the field {field!r}" if field else ""
        return _none("voting", candidates, what)
    place = {each.label: at for at, each in enumerate(candidates)}

    def rank(group: list[Candidate]) -> tuple[int, float, int]:
        best = max(map(_verified, group))
        return len(group), best, -min(place[each.label] for each in group)

    ordered = sorted(groups.items(), key=lambda item: rank(item[1]), reverse=True)
    winners = ordered[0][1]
    chosen = max(winners, key=lambda each: rank([each]))
    count = sum(map(len, groups.values()))
    return Merged(
        "voting",
        True,
        chosen.answer,
        chosen.label,
        _voting_note(winners, ordered, count, len(candidates)),
        tuple(Vote(key, tuple(each.label for each in group)) for key, group in ordered),
        _scores(candidates),
    )


def _voting_note(
    winners: Sequence[Candidate],
    ordered: Sequence[tuple[str, list[Candidate]]],
    count: int,
    asked: int,
) -> str:
    kind = "a majority" if len(winners) * 2 > count else "no majority"
    note = f"{len(winners)} of {count} votes, {kind}"
    if count < asked:
        note += f"; {asked - count} gave no vote"
    ties = [group for _, group in ordered if len(group) == len(winners)]
    if len(ties) > 1:
        note += f"; {len(ties)} answers have as many: {TIE_RULE}"
    return note


def needs_judge(candidates: Sequence[Candidate], merge: Merge) -> bool:
    """Whether a judge has to be asked: by `judge` always, by `highest-score` where commands tie."""
    good = [each for each in candidates if each.ok]
    if len(good) < 2 or merge not in ("judge", "highest-score"):
        return False
    best = max(map(_verified, good))
    return merge == "judge" or sum(_verified(each) == best for each in good) > 1


def highest(candidates: Sequence[Candidate]) -> Merged:
    """The answer with the highest score by its agent's commands; where those tie, by the judge.

    One whose commands passed is above one that nothing measured.
    """
    return _taken("highest-score", candidates, lambda each: (_verified(each), _judged(each)))


def judged_best(candidates: Sequence[Candidate]) -> Merged:
    """The answer to which the judge gave the highest score."""
    return _taken("judge", candidates, lambda each: (_judged(each),))


def _taken(
    merge: Merge, candidates: Sequence[Candidate], rank: Callable[[Candidate], tuple[float, ...]]
) -> Merged:
    good = [each for each in candidates if each.ok]
    if not good:
        return _none(merge, candidates)
    best = max(good, key=rank)  # the earliest among equals
    if len(good) > 1 and max(rank(best)) < 0:
        return _none(merge, candidates, "nothing measured any of the answers")
    note = ", ".join(f"{each.source} {each.value:.2f}" for each in _both(best))
    note = f"the highest score: {note}" if note else "the only answer that succeeded"
    if sum(rank(each) == rank(best) for each in good) > 1:
        note += "; others have it too: the earliest in the plan"
    return Merged(merge, True, best.answer, best.label, note, scores=_scores(candidates))


def _verified(candidate: Candidate) -> float:
    return candidate.verify.value if candidate.verify is not None else -1.0


def _judged(candidate: Candidate) -> float:
    return candidate.judge.value if candidate.judge is not None else -1.0


def _both(candidate: Candidate) -> list[Score]:
    return [score for score in (candidate.verify, candidate.judge) if score is not None]


def _scores(candidates: Sequence[Candidate]) -> tuple[tuple[str, Score], ...]:
    return tuple((each.label, score) for each in candidates for score in _both(each))


def _none(merge: Merge, candidates: Sequence[Candidate], why: str = "") -> Merged:
    good = sum(each.ok for each in candidates)
    note = why if good and why else f"none of {len(candidates)} agents succeeded"
    return Merged(merge, False, "", "", note, scores=_scores(candidates))


def normalised(answer: str, field: str = "") -> str | None:
    """An answer as it is compared with others; None where it has no such field.

    JSON is compared by its value, whatever the order of its keys; other text without regard to
    case, blanks, Markdown marks and punctuation at its edges.
    """
    value = _json(answer)
    if field:
        for key in field.split("."):
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return _text(value) if isinstance(value, str) else _plain(value)
    return _text(answer) if value is None or isinstance(value, str) else _plain(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_plain: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":")
).encode


def _text(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip(_EDGES)).casefold()
