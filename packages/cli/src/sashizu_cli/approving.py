"""Who answers the questions of agents: a person at the terminal, another process, or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
from sashizu_core.approval_file import read_approval_file
from sashizu_core.approvals import TIMEOUT_S, AnsweredElsewhere, described
from sashizu_core.protocols import Approval, Approver, Question

from sashizu_cli import keyboard, render
from sashizu_cli.plain import visible

if TYPE_CHECKING:
    from sashizu_cli.live import Display

__all__ = ["TerminalApprover", "approver_for", "show_question"]

_ANSWERS: Mapping[str, Literal["deny", "once", "run"]] = {
    "y": "once",
    "yes": "once",
    "r": "run",
    "run": "run",
    "n": "deny",
    "no": "deny",
    "": "deny",
}


def approver_for(asked: str | None, display: Display, run_id: str) -> Approver | None:
    """Who answers in this run; None denies whatever would have to be asked.

    Args:
        asked: what `--approve` says: `never`, `ask`, a file, or None where it is not given.
        display: is paused while somebody is asked.
        run_id: how another process finds the run.

    Raises:
        ConfigError: the file is not one that may answer.
    """
    here = keyboard.somebody_there()
    if asked == "never" or (asked is None and not here):
        return None
    if asked in (None, "ask"):
        return TerminalApprover(display) if here else _Announced(run_id)
    return read_approval_file(Path(str(asked)), Path.cwd())


def show_question(number: str, lines: Sequence[Sequence[str]], *, to_stderr: bool = True) -> None:
    """Print a question in full: one line for each label and text, nothing hidden or cut."""
    render.line(f"question {visible(number)}", to_stderr=to_stderr)
    width = max((len(label) for label, _ in lines), default=0)
    for label, text in lines:
        shown = visible(render.without_keys(text))
        render.line(f"  {visible(label):{width}}  {shown}", to_stderr=to_stderr)


class TerminalApprover:
    """Asks the person at the terminal, one question after the other."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._turn = anyio.Lock()

    async def ask(self, question: Question) -> Approval:
        async with self._turn:
            if not keyboard.somebody_there():
                return Approval("deny", "nobody to ask")
            with self._display.paused():
                try:
                    return Approval(await self._answer(question), by="terminal")
                except anyio.get_cancelled_exc_class():
                    render.prompt("(not needed any more)\n")
                    raise

    async def _answer(self, question: Question) -> Literal["deny", "once", "run"]:
        show_question(question.id, described(question))
        keyboard.forget_typed()  # what was typed blindly is no answer
        while True:
            render.prompt("Allow? y: once, r: the same for this run, n: no [y/r/N] ")
            typed = await keyboard.wait_for_line()
            if (answer := _ANSWERS.get(typed.lower())) is not None:
                return answer


class _Announced(AnsweredElsewhere):
    """Says on stderr that a question waits, and how to answer it from another terminal."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    async def ask(self, question: Question) -> Approval:
        render.note(
            f"{question.agent_name} waits {TIMEOUT_S:g} s for an answer: {question.reason}; "
            f"sashizu runs approve {self._run_id} --list"
        )
        return await super().ask(question)
