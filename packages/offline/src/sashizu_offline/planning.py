"""Plans for several agents, by rules: the parts of the goal's text, and the words of the agents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sashizu_core.prompt import Brief

from sashizu_offline.jobs import choose_job

__all__ = ["plan_text"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VERBS = "|".join(
    sorted(
        _words(
            "add analyse analyze audit build check compare describe design document explain find "
            "fix implement improve investigate list measure plan refactor remove rename report "
            "research review search summarise summarize test update verify write"
        )
    )
)
_LATER = r"(?:then|after that|afterwards|finally|next|at last)"
_SPLIT = re.compile(
    rf"(?P<item>(?:\A|\n)[ \t]*(?P<mark>\d+[.)]|[-*])[ \t]+)"
    rf"|(?P<later>[,;.]?\s+(?:and\s+)?{_LATER}\b\s*,?\s*)"
    rf"|\s*[;\n]\s*|[.!?]\s+"
    rf"|,?\s+and\s+(?=(?:{_VERBS})\b)|,\s+(?=(?:{_VERBS})\b)",
    re.IGNORECASE,
)
_REFERS = re.compile(r"(?i)\b(?:it|its|they|them|their|this|these|those|that|results?)\b")
_FOLLOWS = re.compile(rf"(?i)\A{_LATER}\b\s*,?\s*|\bbased on\b|\bfor each (?:finding|result)\b")
_GATHERS = re.compile(r"(?i)\A(?:finally\b|summari[sz]e\b|combine\b|merge\b|report\b|conclude\b)")
_COMMON = _words(
    "and are all any code each every file files find for from given have into its name not one "
    "report say that the their them then this use what where which with write you"
)
_LONGEST = 4_000
_ID = 32


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a goal. `stage` counts from 0: a part waits for those of the stage before its own.

    One that `gathers` waits for all before it.
    """

    text: str
    stage: int
    gathers: bool = False


@dataclass(frozen=True, slots=True)
class _Agent:
    name: str
    purpose: str


def plan_text(brief: Brief) -> str:
    """The JSON text of a plan for what a planner's brief says."""
    facts = brief.inputs
    agents = [_Agent(each["name"], each["purpose"]) for each in json.loads(facts["agents"])]
    strategy = facts["strategy"].partition(":")[0]
    if "failed" in facts:
        steps = _again(json.loads(facts["failed"]), json.loads(facts["done"]), agents)
    elif facts["merge"].partition(":")[0] != "concatenate":
        steps = _alternatives(facts["goal"], agents, named="each agent" in facts)
    else:
        steps = _by_parts(facts["goal"], agents, named="each agent" in facts)
    if strategy == "parallel":
        done = {each["id"] for each in json.loads(facts.get("done", "[]"))}
        steps = [{**step, "after": [x for x in step["after"] if x in done]} for step in steps]
    return json.dumps({"steps": steps}, ensure_ascii=False)


def _step(name: str, agent: str, goal: str, after: Sequence[str] = ()) -> dict[str, Any]:
    return {"id": name[:_ID], "agent": agent, "goal": goal, "after": list(after)}


# --- the first plan -------------------------------------------------------------------------------


def _by_parts(goal: str, agents: Sequence[_Agent], *, named: bool) -> list[dict[str, Any]]:
    """A step for each part of the goal; agents that were named and fit none get all of it."""
    parts = _parts(goal)
    if named and len(parts) == 1 and not any(_score(goal, agent) for agent in agents):
        return _for_each(goal, agents)  # nothing speaks for one of them more than for the others
    steps: list[dict[str, Any]] = []
    for number, part in enumerate(parts, 1):
        after = [
            f"s{earlier}"
            for earlier, other in enumerate(parts[: number - 1], 1)
            if part.gathers or other.stage == part.stage - 1
        ]
        refers = len(parts) > 1 and _REFERS.search(part.text) is not None
        context = f'\n\nThis is a part of: "{goal[:_LONGEST]}"' if refers else ""
        agent = _fitting(part.text, agents)
        steps.append(_step(f"s{number}", agent.name, part.text + context, after))
    used = {step["agent"] for step in steps}
    rest = [agent for agent in agents if agent.name not in used] if named else []
    return [*steps, *_for_each(goal, rest, len(steps))]


def _for_each(goal: str, agents: Sequence[_Agent], numbered_from: int = 0) -> list[dict[str, Any]]:
    return [
        _step(f"s{number}", agent.name, goal)
        for number, agent in enumerate(agents, numbered_from + 1)
    ]


def _alternatives(goal: str, agents: Sequence[_Agent], *, named: bool) -> list[dict[str, Any]]:
    """The goal for each agent: for those that were named, else for those that fit it best."""
    if named:
        return _for_each(goal, agents)
    best = max(_score(goal, agent) for agent in agents)
    return _for_each(goal, [agent for agent in agents if _score(goal, agent) == best][:3])


def _parts(goal: str) -> list[_Part]:
    """The parts of a goal in order, split at lists, ends of sentences, 'then' and ', VERB'."""
    parts: list[_Part] = []
    later, at = False, 0
    for found in [*_SPLIT.finditer(goal), None]:
        text = goal[at : found.start() if found else len(goal)].strip(" \t\r\n,;.")
        if text:
            stage = parts[-1].stage if parts else 0
            gathers = bool(parts) and _GATHERS.match(text) is not None
            if parts and (later or gathers or _FOLLOWS.search(text)):
                stage += 1
            plain = re.sub(rf"(?i)\A{_LATER}\b\s*,?\s*", "", text)
            parts.append(_Part(plain or text, stage, gathers))
            later = False
        if found is not None:
            numbered = (found["mark"] or "")[:1].isdigit()
            later = later or numbered or bool(found["later"])
            at = found.end()
    return parts or [_Part(goal, 0)]


# --- who does what --------------------------------------------------------------------------------


def _fitting(text: str, agents: Sequence[_Agent]) -> _Agent:
    """The agent whose name and purpose share most with a text; `general` where none does."""
    scores = [_score(text, agent) for agent in agents]
    if max(scores) > 0:
        return agents[scores.index(max(scores))]
    return next((agent for agent in agents if agent.name == "general"), agents[0])


def _score(text: str, agent: _Agent) -> int:
    """Words in common, those of the name counted three times, and the same kind of work."""
    words = _stems(text)
    score = 3 * len(words & _stems(agent.name)) + len(words & _stems(agent.purpose))
    job = choose_job(Brief("", "", text))
    asked = any(word in job.words for word in re.findall(r"[a-z]+", text.lower()))
    if asked and choose_job(Brief(agent.name, agent.purpose, "")) is job:
        score += 5 if agent.name != "general" else 0
    return score


def _stems(text: str) -> set[str]:
    words = re.findall(r"[^\W\d_]{3,}", text.lower())
    return {word[:5] for word in words if word not in _COMMON}


# --- after failures -------------------------------------------------------------------------------


def _again(
    failed: Sequence[Mapping[str, Any]],
    done: Sequence[Mapping[str, Any]],
    agents: Sequence[_Agent],
) -> list[dict[str, Any]]:
    """What failed goes to another agent if there is one, what was not started to the same."""
    new = {str(each["id"]): f"{str(each['id'])[: _ID - 6]}-again" for each in failed}
    finished = {str(each["id"]) for each in done}
    steps = []
    for each in failed:
        name, goal = str(each["agent"]), str(each["goal"])
        others = [agent for agent in agents if agent.name != name]
        if not str(each["error"]).startswith("not started") and others:
            name = _fitting(goal, others).name
        after = [new.get(one, one) for one in each["after"] if one in new or one in finished]
        steps.append(_step(new[str(each["id"])], name, goal, after))
    return steps
