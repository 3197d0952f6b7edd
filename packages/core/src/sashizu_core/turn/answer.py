"""What a final answer says: its text, and how it judges the success criteria."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sashizu_core.types import Criterion

__all__ = ["Answer", "answer_schema", "read_answer"]

_BLOCK = re.compile(r"```criteria[ \t]*\n(.*?)\n?```", re.DOTALL)
_VERDICTS = ("met", "not met", "not checked")


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer. `problem` says why it does not fit the schema that was asked for."""

    text: str
    criteria: tuple[Criterion, ...]
    problem: str = ""


def answer_schema(
    output: Mapping[str, Any] | None, criteria: Sequence[str]
) -> Mapping[str, Any] | None:
    """The JSON Schema to ask a model for; with criteria it wraps the answer and the verdicts."""
    if output is None or not criteria:
        return output
    verdict = {
        "type": "object",
        "properties": {
            "criterion": {"type": "integer"},
            "verdict": {"enum": list(_VERDICTS)},
            "evidence": {"type": "string"},
        },
        "required": ["criterion", "verdict", "evidence"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"answer": output, "criteria": {"type": "array", "items": verdict}},
        "required": ["answer", "criteria"],
        "additionalProperties": False,
    }


def _judged(criteria: Sequence[str], verdicts: object) -> tuple[Criterion, ...]:
    """One entry per criterion; what the answer does not judge properly is not checked."""
    found: dict[int, Criterion] = {}
    for entry in verdicts if isinstance(verdicts, list) else []:
        if not isinstance(entry, dict):
            continue
        number, verdict = entry.get("criterion"), entry.get("verdict")
        if isinstance(number, int) and 1 <= number <= len(criteria) and verdict in _VERDICTS:
            evidence = entry.get("evidence")
            found[number] = Criterion(
                criteria[number - 1], verdict, evidence if isinstance(evidence, str) else ""
            )
    return tuple(
        found.get(number, Criterion(text, "not checked", "the answer does not judge it"))
        for number, text in enumerate(criteria, 1)
    )


def _read_text(text: str, criteria: Sequence[str]) -> Answer:
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        return Answer(text.strip(), _judged(criteria, None))
    last = blocks[-1]
    try:
        verdicts = json.loads(last.group(1))
    except (ValueError, RecursionError):
        verdicts = None
    rest = (text[: last.start()] + text[last.end() :]).strip()
    return Answer(rest, _judged(criteria, verdicts))


def _schema_problem(value: object, schema: Mapping[str, Any]) -> str:
    import jsonschema

    try:
        error = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(dict(schema)).iter_errors(value)
        )
    except Exception as failed:  # noqa: BLE001 - it follows references and runs expressions
        return f"the answer cannot be held against its schema: {type(failed).__name__}: {failed}"
    if error is None:
        return ""
    return f"the answer does not fit its schema at {error.json_path}: {error.message}"


def read_answer(
    text: str, criteria: Sequence[str], output: Mapping[str, Any] | None = None
) -> Answer:
    """Read a final answer: prose with a block of verdicts, or JSON that fits `output`."""
    if output is None:
        return _read_text(text, criteria)
    schema = answer_schema(output, criteria)
    assert schema is not None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Answer(text, _judged(criteria, None), f"the answer is not JSON: {error}")
    if problem := _schema_problem(value, schema):
        return Answer(text, _judged(criteria, None), problem)
    if not criteria:
        return Answer(text, ())
    answer = json.dumps(value["answer"], ensure_ascii=False, indent=2)
    return Answer(answer, _judged(criteria, value["criteria"]))
