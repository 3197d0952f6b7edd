"""What a person and a program read of an agent that a model made."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from difflib import unified_diff
from pathlib import Path

from sashizu_core.creation import CreatedAgent, RefusedWish
from sashizu_core.errors import UsageError
from sashizu_core.types import UNITS, Limits, RunReport

from sashizu_cli import render
from sashizu_cli.document import document_text
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import one_line
from sashizu_cli.reports import totals

__all__ = ["created_text", "limits_left", "print_created"]


def created_text(
    prompt: str, created: CreatedAgent, saved: Path | None, result: RunReport | None
) -> str:
    """The JSON text of what became of the wish for an agent.

    `generation` is the report of the run that made it, `run` that of its own, null if it had none.
    """
    definition = created.definition
    return json_text(
        {
            "prompt": prompt,
            "ok": created.ok,
            "name": definition.name if definition is not None else None,
            "definition": (
                definition.model_dump(mode="json", exclude_defaults=True) if definition else None
            ),
            "text": created.text or None,
            "sha256": created.sha256 or None,
            "refused": [asdict(wish) for wish in created.refused],
            "model": created.model,
            "by_rules": created.by_rules,
            "saved": saved.as_posix() if saved is not None else None,
            "error": created.error or None,
            "generation": json.loads(document_text(created.run)),
            "run": json.loads(document_text(result)) if result is not None else None,
        },
        indent=2,
    )


def print_created(created: CreatedAgent, path: str, *, to_stderr: bool = False) -> None:
    """Print the file as a change to what is there, what was refused, and what it cost."""
    if not created.ok:
        render.error(f"no agent was made: {created.error}")
    else:
        lines = unified_diff(
            [], created.text.rstrip("\n").split("\n"), "/dev/null", path, lineterm=""
        )
        for text in lines:
            render.line(text, to_stderr=to_stderr)
        render.line(to_stderr=to_stderr)
        if created.refused:
            render.line("# asked for, and refused\n", to_stderr=to_stderr)
            for wish in created.refused:
                render.line(_refused(wish), to_stderr=to_stderr)
            render.line(to_stderr=to_stderr)
        how = " by rules, no language model was used" if created.by_rules else ""
        made = f"made by {one_line(created.model)}{how}; sha256 {created.sha256}"
        render.line(made, to_stderr=to_stderr)
    render.line(totals(created.run), to_stderr=to_stderr)


def _refused(wish: RefusedWish) -> str:
    got = f"; it has {one_line(wish.got)} instead" if wish.got else ""
    return f"- {wish.what}: {one_line(wish.wish)}{got} ({one_line(wish.why)})"


def limits_left(created: CreatedAgent, seconds: float | None) -> tuple[Limits | None, float | None]:
    """What the agent's own run may use after it was made: limits, and seconds to the deadline.

    Raises:
        UsageError: nothing is left.
    """
    state, took_s = created.run.budget, created.run.duration_s
    left_s = None if seconds is None else seconds - took_s
    if state is None:
        limits = None
    else:
        left = {unit: state.left(unit) for unit in UNITS}
        limits = replace(state.limits, **left)
        if limits.seconds is not None:
            limits = replace(limits, seconds=limits.seconds - took_s)
    times = [left_s, limits.seconds if limits is not None else None]
    if any(left == 0 for left in ({} if state is None else left).values()) or any(
        each is not None and each <= 0 for each in times
    ):
        raise UsageError("making the agent took the whole budget: nothing is left to run it")
    return limits, left_s
