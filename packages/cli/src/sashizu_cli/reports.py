"""The combined report of a run, as a person reads it."""

from __future__ import annotations

from collections.abc import Collection

from sashizu_core.types import AgentReport, Amount, BudgetState, RunReport, Usage

from sashizu_cli import render
from sashizu_cli.plain import one_line

__all__ = ["print_answer", "print_report", "totals"]

_INDENT = 2


def print_report(
    report: RunReport, *, to_stderr: bool = False, hidden: Collection[str] = ()
) -> None:
    """Print every agent's report in the order asked, then the totals; errors on stderr.

    What a model wrote is indented, so that it cannot pass for a line of ours. The agents with the
    names `hidden` are not shown unless they failed.
    """
    for result in report.results:
        if result.agent not in hidden or not result.ok:
            _print_result(result, to_stderr)
    for text in _merge_lines(report):
        render.line(text, to_stderr=to_stderr)
    _warn_of_overrun(report)
    style = "bold green" if report.success_count == len(report.results) else "bold red"
    render.line(totals(report), style=style, to_stderr=to_stderr)


def print_answer(report: RunReport, *, to_stderr: bool = False) -> None:
    """Print the answer of a run with one agent: the answer alone on stdout, the rest on stderr."""
    for result in report.results:
        if result.answer:
            render.markdown(result.answer, to_stderr=to_stderr)
        for text in _facts(result):
            render.note(text)
        _print_error(result)
        if result.conversation_id:
            render.note(f"to go on: sashizu run --continue {result.conversation_id} PROMPT")
    for text in _merge_lines(report):
        render.note(text)
    _warn_of_overrun(report)
    render.note(totals(report))


def totals(report: RunReport) -> str:
    """One line about the whole run."""
    parts = [
        f"{report.success_count} of {len(report.results)} agents succeeded",
        f"{report.duration_s:.1f} s",
        _usage_text(
            report.usage,
            sum(each.doubtful_tokens for result in report.results for each in result.tree()),
        ),
    ]
    if report.budget is not None:
        parts += [text for text in [_budget_text(report.budget)] if text]
    return f"{', '.join(parts)}; run {report.run_id}"


def _warn_of_overrun(report: RunReport) -> None:
    if report.budget is not None and (over := report.budget.overrun) != Amount():
        more = f"{over.tokens:,} tokens" if over.tokens else f"{over.nusd / 1e9:.4f} USD"
        render.warning(f"a provider billed {more} more than was held for its calls")


def _print_result(result: AgentReport, to_stderr: bool) -> None:
    render.line(
        f"# {one_line(result.agent)}: {result.outcome.value.replace('_', ' ')}",
        style="bold green" if result.ok else "bold red",
        to_stderr=to_stderr,
    )
    render.line(to_stderr=to_stderr)
    if result.answer:
        render.markdown(result.answer, indent=_INDENT, to_stderr=to_stderr)
        render.line(to_stderr=to_stderr)
    for text in [*_facts(result), _figures(result)]:
        render.line(text, to_stderr=to_stderr)
    _print_error(result)
    render.line(to_stderr=to_stderr)


def _print_error(result: AgentReport) -> None:
    if result.error:
        render.error(f"{one_line(result.agent)}: {result.error}")


def _facts(result: AgentReport) -> list[str]:
    lines = []
    for criterion in result.criteria:
        evidence = f" ({one_line(criterion.evidence)})" if criterion.evidence else ""
        lines.append(f"- {criterion.verdict}: {one_line(criterion.text)}{evidence}")
    for artifact in result.artifacts:
        size = f"{artifact.bytes:,} bytes, sha256 {artifact.sha256[:12]}"
        lines.append(f"- wrote {one_line(artifact.path)} ({size})")
    lines += [f"- did not write {one_line(path)}" for path in result.missing]
    lines += [
        f"- had {one_line(child.agent)} work for it: {child.outcome.value.replace('_', ' ')}"
        for child in result.children
    ]
    lines += [
        f"- {one_line(use.name)} was carried out by {one_line(use.backend)} in {use.calls:,} calls"
        for use in result.backends
    ]
    if (changes := result.changes) is not None:
        lines += [f"- {file.change} {one_line(file.path)}" for file in changes.files]
        lines += [f"- left in its worktree: {one_line(path)}" for path in changes.left_out]
        lines.append(f"- its changes are on the branch {one_line(changes.branch)}")
    return lines


def _merge_lines(report: RunReport) -> list[str]:
    """What to do with what the agents changed in worktrees."""
    plan = report.merge
    if plan is None:
        return []
    lines = [f"changed by several agents: {one_line(path)}" for path in plan.overlaps]
    for conflict in plan.conflicts:
        paths = ", ".join(one_line(path) for path in conflict.paths)
        lines.append(f"does not merge: {one_line(conflict.agent)} ({paths})")
    count = len(plan.clean)
    agents = f"{count} agent{'' if count == 1 else 's'}"
    return [*lines, f"to merge what {agents} changed: sashizu merge {report.run_id}", ""]


def _figures(result: AgentReport) -> str:
    parts = [f"{result.duration_s:.1f} s", f"{result.steps} steps"]
    parts.append(_usage_text(result.usage, result.doubtful_tokens))
    if result.budget is not None:
        parts += [text for text in [_budget_text(result.budget)] if text]
    return ", ".join(parts)


def _usage_text(usage: Usage, doubtful: int) -> str:
    text = f"{usage.tokens:,} tokens ({usage.input_tokens:,} in, {usage.output_tokens:,} out"
    if usage.cache_read_tokens:
        text += f", {usage.cache_read_tokens:,} cached"
    text = f"{text}) in {usage.requests:,} calls"
    return f"{text}, at most {doubtful:,} more in doubt" if doubtful else text


def _budget_text(state: BudgetState) -> str:
    """What was spent of each limit; without limits, what it cost."""
    parts = []
    if state.limits.tokens is not None:
        parts.append(f"{state.spent.tokens:,} of {state.limits.tokens:,} tokens")
    if state.limits.nusd is not None:
        parts.append(f"{state.spent.nusd / 1e9:.4f} of {state.limits.nusd / 1e9:.4f} USD")
    elif state.spent.nusd:
        parts.append(f"{state.spent.nusd / 1e9:.4f} USD")
    if state.limits.requests is not None:
        parts.append(f"{state.spent.requests:,} of {state.limits.requests:,} requests")
    return f"budget: {', '.join(parts)}" if parts else ""
