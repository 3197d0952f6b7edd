"""One command, and the moment at which it reacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

__all__ = ["EVENTS", "Reaction", "ReactionEvent", "matcher_problem"]

ReactionEvent = Literal[
    "SessionStart",  # an agent of the request begins; matched by `startup` or `resume`
    "UserPromptSubmit",  # its task is about to be told to it
    "SubagentStart",  # an agent begins that an agent started; matched by its name
    "PreToolUse",  # a tool is about to be called; matched by the tool's name
    "PostToolUse",  # a tool was called; matched by the tool's name
    "Stop",  # an agent of the request has answered
    "SubagentStop",  # an agent has answered that an agent started; matched by its name
]
"""The moments that are known, by the names that all programs give them."""

EVENTS: tuple[ReactionEvent, ...] = get_args(ReactionEvent)

_ALL = ("", "*")
_LARGEST_MATCHER = 1000


@dataclass(frozen=True, slots=True)
class Reaction:
    """A command for a shell, and when it runs.

    `matcher` is a regular expression for the whole of a name; empty matches everything. `source` is
    where it was read, `own` whether it is the operator's and not a repository's.
    """

    event: ReactionEvent
    matcher: str
    command: str
    timeout_s: float
    source: str
    own: bool

    def matches(self, names: Sequence[str]) -> bool:
        """Whether one of the names is meant; without names, the matcher does not count."""
        if self.matcher in _ALL or not names:
            return True
        validator = _compiled(self.matcher)
        return any(_fits(validator, name) for name in names)


def matcher_problem(matcher: str) -> str:
    """What is wrong with a matcher, empty if nothing is."""
    if len(matcher) > _LARGEST_MATCHER:
        return f"is longer than {_LARGEST_MATCHER} characters"
    if matcher in _ALL:
        return ""
    try:
        _compiled(matcher)
    except SchemaError:
        return "is no regular expression that can be searched for in bounded time"
    return ""


@cache
def _compiled(matcher: str) -> SchemaValidator:
    # This engine takes time in proportion to the text, whatever the expression.
    schema = core_schema.str_schema(pattern=f"^(?:{matcher})$", regex_engine="rust-regex")
    return SchemaValidator(schema)


def _fits(validator: SchemaValidator, name: str) -> bool:
    try:
        validator.validate_python(name)
    except ValidationError:
        return False
    return True
