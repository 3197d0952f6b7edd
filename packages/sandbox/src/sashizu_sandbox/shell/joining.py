"""Commands, and how they are joined: by `|` closest, by `&&` and `||` alike, then by `;`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sashizu_core.errors import ToolError

__all__ = [
    "REDIRECTS",
    "Joined",
    "Joint",
    "Pipeline",
    "SimpleCommand",
    "Target",
    "Token",
    "grouped",
]

Target = Literal["out", "err", "nowhere"]
"""Where what a command prints goes: on to the next command or the answer, straight to the answer,
or nowhere."""

Joint = Literal["", ";", "&&", "||"]


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """A program and its arguments; `stdout` and `stderr` say where its output goes."""

    words: tuple[str, ...]
    stdout: Target = "out"
    stderr: Target = "err"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each of which reads what the one before it prints."""

    commands: tuple[SimpleCommand, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """A pipeline, and how it is joined to what comes before it; the first is joined by nothing."""

    joint: Joint
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Token:
    """A word, an operator, or a redirection: `kind` is `word`, `redirect` or the operator."""

    kind: str
    text: str = ""


# --- redirections ---------------------------------------------------------------------------------

REDIRECTS = frozenset(
    f"{descriptor}{rest}"
    for descriptor, rest in (
        *((d, f"{arrow}/dev/null") for d in ("", "1", "2") for arrow in (">", ">>")),
        ("", "&>/dev/null"),
        ("", "&>>/dev/null"),
        ("", "</dev/null"),
        ("", ">&2"),
        ("1", ">&2"),
        ("2", ">&1"),
    )
)


def _redirected(redirects: Sequence[str]) -> tuple[Target, Target]:
    """Where standard output and error go, after redirections from left to right."""
    out: Target = "out"
    err: Target = "err"
    for text in redirects:
        if text.startswith("&"):
            out = err = "nowhere"
        elif text == "2>&1":
            err = out
        elif text.endswith(">&2"):
            out = err
        elif text.startswith("2"):
            err = "nowhere"
        elif not text.startswith("<"):
            out = "nowhere"
    return out, err


# --- groups ---------------------------------------------------------------------------------------


def grouped(tokens: Sequence[Token]) -> Iterator[Joined]:
    """Pipelines and how they are joined: `|` binds closest, `&&` and `||` alike, then `;`."""
    joint: Joint = ""
    commands: list[SimpleCommand] = []
    current: list[Token] = []
    before = ""
    for token in (*tokens, Token("end")):
        if token.kind in ("word", "redirect"):
            current.append(token)
            continue
        if not current and _may_be_empty(token.kind, before):
            continue
        commands.append(_command(current, token.kind, before))
        current, before = [], token.kind
        if token.kind not in ("|", "|&"):
            yield Joined(joint, Pipeline(tuple(commands)))
            commands, joint = [], _joint(token.kind)


def _may_be_empty(operator: str, before: str) -> bool:
    """Whether there may be nothing: on an empty line, also after an operator, and at the end."""
    return operator == ";" or (operator == "end" and before in ("", ";"))


def _joint(operator: str) -> Joint:
    match operator:
        case "&&" | "||":
            return operator
        case _:
            return ";"


def _command(tokens: Sequence[Token], operator: str, before: str) -> SimpleCommand:
    words = tuple(token.text for token in tokens if token.kind == "word")
    redirects = [token.text for token in tokens if token.kind == "redirect"]
    if not words:
        beside = f"before {operator!r}" if operator != "end" else f"after {before!r}"
        raise ToolError(f"there is no command {beside}")
    if not words[0]:
        raise ToolError("the first word of a command is empty: it names the program")
    out, err = _redirected([*redirects, "2>&1"] if operator == "|&" else redirects)
    return SimpleCommand(words, out, err)
