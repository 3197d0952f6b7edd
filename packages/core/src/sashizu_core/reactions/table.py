"""The shape of hooks in files, and the table `[hooks]` of the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sashizu_core.reactions.reaction import EVENTS, Reaction, ReactionEvent, matcher_problem

__all__ = ["HooksSettings", "reactions_of"]

TIMEOUT_S = 60.0
LONGEST_S = 600.0
MOST_GROUPS = 200
LARGEST_COMMAND = 16 * 1024


def _matcher(text: str) -> str:
    if problem := matcher_problem(text):
        raise ValueError(f"the matcher {problem}")
    return text


class Handler(BaseModel):
    """What runs: a command for a shell. What else other programs keep here is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    type: Literal["command"]
    command: Annotated[str, Field(min_length=1, max_length=LARGEST_COMMAND)]
    timeout: Annotated[float, Field(gt=0, le=LONGEST_S)] = TIMEOUT_S


class Group(BaseModel):
    """Handlers for what a matcher matches."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    matcher: Annotated[str, AfterValidator(_matcher)] = ""
    hooks: Annotated[tuple[Handler, ...], Field(max_length=MOST_GROUPS)] = ()


Groups = Annotated[tuple[Group, ...], Field(max_length=MOST_GROUPS)]


class HooksSettings(BaseModel):
    """The table `[hooks]`: the operator's own hooks, and how all of them are held.

    `on_failure` says what becomes of a tool call whose `PreToolUse` hook of the operator fails or
    takes too long: `deny` refuses the call, `tell` lets it go on. `write` lets hooks write where
    their agent may. `repository` False runs none that a repository brings, trusted or not. `read`
    are further absolute paths that hooks may read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    on_failure: Literal["deny", "tell"] = "deny"
    write: Annotated[bool, Field(strict=True)] = False
    repository: Annotated[bool, Field(strict=True)] = True
    read: tuple[Annotated[str, Field(pattern="^/")], ...] = ()
    SessionStart: Groups = ()
    UserPromptSubmit: Groups = ()
    SubagentStart: Groups = ()
    PreToolUse: Groups = ()
    PostToolUse: Groups = ()
    Stop: Groups = ()
    SubagentStop: Groups = ()

    def reactions(self) -> Iterator[Reaction]:
        """The operator's hooks of the table."""
        for event in EVENTS:
            for group in getattr(self, event):
                yield from _of_group(event, group, "the settings table [hooks]", own=True)


def reactions_of(
    hooks: Any, source: str, *, own: bool
) -> tuple[tuple[Reaction, ...], tuple[str, ...]]:
    """The hooks of a file, `{EVENT: [{"matcher": …, "hooks": […]}]}`, and what does not run, why.

    Programs share the shape and not all that can stand in it: what is not known is left out, and
    told.
    """
    if not isinstance(hooks, Mapping):
        return (), (f"{source}: 'hooks' is no table of events",)
    found: list[Reaction] = []
    problems: list[str] = []
    for event, groups in hooks.items():
        if event not in EVENTS:
            problems.append(f"{source}: hooks for {str(event)!r:.80} do not run here")
            continue
        for group in groups[:MOST_GROUPS] if isinstance(groups, list) else [groups]:
            for part in _handlers(group):
                try:
                    found += _of_group(event, Group.model_validate(part), source, own=own)
                except ValidationError as error:
                    problems.append(f"{source}: a hook for {event} does not run: {_first(error)}")
    return tuple(found), tuple(problems)


def _handlers(group: Any) -> Iterator[Any]:
    """A group once for each of its handlers, so that one that is not known hides no other."""
    if not isinstance(group, Mapping) or not isinstance(group.get("hooks"), list):
        yield group if isinstance(group, Mapping) else {"hooks": group}
        return
    for handler in group["hooks"][:MOST_GROUPS]:
        background = isinstance(handler, Mapping) and handler.get("async")
        told = {**handler, "type": "in the background"} if background else handler
        yield {**group, "hooks": [told]}


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    return f"{where}: {first['msg']}"


def _of_group(event: ReactionEvent, group: Group, source: str, *, own: bool) -> Iterator[Reaction]:
    for handler in group.hooks:
        yield Reaction(event, group.matcher, handler.command, handler.timeout, source, own)
