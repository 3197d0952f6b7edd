"""What a person and a program read of a supervised goal: its plan, its steps, its one answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sashizu_core.supervisor import JUDGE, PLANNER, Merged, Step, StepPlan, StepResult, Supervision
from sashizu_core.types import AgentReport

from sashizu_cli import render
from sashizu_cli.document import document_text
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import one_line
from sashizu_cli.reports import print_report

__all__ = ["print_plan", "print_supervision", "supervision_text"]


def supervision_text(found: Supervision) -> str:
    """The JSON text of what became of a goal; `run` is the report of the run."""
    return json_text(
        {
            "goal": found.goal,
            "strategy": found.strategy,
            "merge": found.merge,
            "ok": found.ok,
            "answer": found.answer,
            "plan": _plan(found.plan),
            "replanned": _plan(found.replanned),
            "steps": [_step(result, found) for result in found.steps],
            "merged": _merged(found.merged),
            "run": json.loads(document_text(found.run)),
        },
        indent=2,
    )


def _plan(plan: StepPlan | None) -> dict[str, Any] | None:
    return None if plan is None else asdict(plan)


def _step(result: StepResult, found: Supervision) -> dict[str, Any]:
    reports = {str(report.agent_id): report for report in found.run.results}
    ran = [reports[agent_id] for agent_id in result.agent_ids if agent_id in reports]
    return {
        **asdict(result.step),
        "round": result.round,
        "state": result.state,
        "answer": result.answer,
        "error": result.error or None,
        "agent_ids": list(result.agent_ids),
        "duration_s": max((report.duration_s for report in ran), default=0.0),
        "merged": _merged(result.merged),
    }


def _merged(merged: Merged | None) -> dict[str, Any] | None:
    if merged is None:
        return None
    scores = [{"answer": label, **asdict(score)} for label, score in merged.scores]
    return {
        "ok": merged.ok,
        "chosen": merged.chosen or None,
        "note": merged.note,
        "votes": [asdict(vote) for vote in merged.votes],
        "scores": scores,
    }


# --- for a person ---------------------------------------------------------------------------------


def print_plan(found: Supervision, *, to_stderr: bool = False) -> None:
    """Print the steps of the plan, each with what it waits for."""
    if found.plan is None:
        render.error(f"no plan was made: {_why(found.run.results)}")
        return
    _print_steps("plan", found.plan, to_stderr)


def print_supervision(found: Supervision, *, to_stderr: bool = False) -> None:
    """Print the plan, every agent's report, what became of each step, and the one answer last."""
    print_plan(found, to_stderr=to_stderr)
    if found.replanned is not None:
        _print_steps("planned anew after failures", found.replanned, to_stderr)
    print_report(found.run, to_stderr=to_stderr, hidden=(PLANNER, JUDGE))
    if found.steps:
        render.line("\n# steps\n", to_stderr=to_stderr)
        for result in found.steps:
            _print_result(result, to_stderr)
    if found.merged is not None:
        _print_merged(found.merged, to_stderr)


def _print_steps(title: str, plan: StepPlan, to_stderr: bool) -> None:
    how = "a rule, no model" if plan.made_by == "rule" else plan.made_by
    if plan.by_rules and plan.made_by != "rule":
        how += ", which is rules and no language model"
    render.line(f"# {title}, made by {one_line(how)}\n", to_stderr=to_stderr)
    for step in plan.steps:
        render.line(_step_line(step), to_stderr=to_stderr)
    render.line(to_stderr=to_stderr)


def _step_line(step: Step) -> str:
    after = f", after {', '.join(step.after)}" if step.after else ""
    return f"- {one_line(step.id)}: {one_line(step.agent)}{after}: {one_line(step.goal)}"


def _print_result(result: StepResult, to_stderr: bool) -> None:
    text = f"- {one_line(result.step.id)} ({one_line(result.step.agent)}): {result.state}"
    several = result.merged is not None and len(result.agent_ids) > 1
    if several and result.merged is not None:
        text += f", {result.merged.merge} of {len(result.agent_ids)} models: {result.merged.note}"
    if result.error:
        text += f": {one_line(result.error)}"
    render.line(text, to_stderr=to_stderr)


def _print_merged(merged: Merged, to_stderr: bool) -> None:
    chosen = f", {one_line(merged.chosen)}" if merged.chosen else ""
    title = f"\n# answer by {merged.merge}{chosen}"
    render.line(title, style="bold green" if merged.ok else "bold red", to_stderr=to_stderr)
    render.line(f"{one_line(merged.note)}\n", to_stderr=to_stderr)
    for vote in merged.votes:
        voters = one_line(", ".join(vote.voters))
        text = f"- {len(vote.voters)}: {one_line(vote.answer)[:100]} ({voters})"
        render.line(text, to_stderr=to_stderr)
    for label, score in merged.scores:
        reason = f" ({one_line(score.reason)})" if score.reason else ""
        render.line(
            f"- {one_line(label)}: {score.source} {score.value:.2f}{reason}", to_stderr=to_stderr
        )
    if merged.answer and merged.merge != "concatenate":  # all of them stand above
        render.markdown(merged.answer, indent=2, to_stderr=to_stderr)


def _why(reports: Iterable[AgentReport]) -> str:
    return "; ".join(report.error for report in reports if report.error) or "nobody was asked"
