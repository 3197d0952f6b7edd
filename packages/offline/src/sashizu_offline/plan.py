"""What to do next in a conversation: which tools to call, or what to answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sashizu_core.types import ModelRequest, ToolCall

from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.criteria import criteria_block
from sashizu_offline.gather import analysis, gather_analysis, gather_words
from sashizu_offline.jobs import JOBS, Job, choose_job
from sashizu_offline.reading import readings, result_of_readings
from sashizu_offline.report import (
    MARK,
    Report,
    artifact_text,
    counted,
    finding_lines,
    fitted,
    markdown,
)
from sashizu_offline.report import summary as summary_of
from sashizu_offline.research import Research
from sashizu_offline.results import Result
from sashizu_offline.targets import digest_at, may_write, targets
from sashizu_offline.tokens import BYTES_PER_TOKEN, input_tokens, spent_before
from sashizu_offline.visible import code, visible_lines

__all__ = ["Step", "answer_text", "next_step", "report_of"]

_REPORT_BYTES = 24_000
_ANSWER_BYTES = 6_000
_LEAST_REPORT_BYTES = 800
_LONGER_VERDICT = 64


@dataclass(frozen=True, slots=True)
class Step:
    """Either tool calls or an answer."""

    calls: tuple[ToolCall, ...] = ()
    answer: str = ""


def next_step(request: ModelRequest, output_cap: int) -> Step:
    """Plan from the messages alone. `output_cap` is in tokens."""
    conversation = Conversation.read(request)
    job = choose_job(conversation.brief)
    gather = gather_words if job is JOBS["research"] else gather_analysis
    calls = tuple(gather(conversation, job, request))
    if calls:
        return Step(calls)
    report = report_of(conversation, job)
    room = _room(conversation, request, output_cap)
    calls = tuple(_writes(conversation, report, room))
    if calls:
        return Step(calls)
    return Step(answer=answer_text(conversation, report, output_cap * BYTES_PER_TOKEN))


def report_of(conversation: Conversation, job: Job) -> Report:
    """What there is to report so far."""
    report = Report(conversation.brief, job)
    report.texts = [
        str(exchange.arguments.get("content", ""))
        for exchange in conversation.answers("write_file")
        if not exchange.is_error
    ]
    report.problems = [
        f"{exchange.tool} failed: {' '.join(exchange.content.split())[:300]}"
        for exchange in conversation.exchanges
        if exchange.is_error
        and exchange.tool != "write_file"
        and not _is_look(conversation, exchange)
    ]
    if job is JOBS["research"]:
        report.research = Research.of(conversation)
        return report
    report.result = analysis(conversation)
    if report.result is None and readings(conversation):
        report.result = result_of_readings(conversation, job.checks)
        report.problems.append(
            "analyze was not available: files were read one by one, and ruff was not used"
        )
    if report.result is None and not report.problems:
        report.problems.append(
            "no tool to analyse or read files was granted: allow `analyze`, or `list_files` and "
            "`read_file`"
        )
    return report


def _is_look(conversation: Conversation, exchange: Exchange) -> bool:
    return exchange.tool == "read_file" and exchange.arguments.get("path") in targets(conversation)


def _room(conversation: Conversation, request: ModelRequest, output_cap: int) -> int:
    """How many bytes all reports together may take.

    What is written is sent again with the next call, which has to fit as well.
    """
    room = min(_REPORT_BYTES, (output_cap - 64) * BYTES_PER_TOKEN)
    left = conversation.brief.tokens_left
    if left is not None:
        now = left - spent_before(request)
        room = min(room, (now - 2 * input_tokens(request) - 600) * BYTES_PER_TOKEN // 2)
    return room


def _writes(conversation: Conversation, report: Report, room: int) -> Iterator[ToolCall]:
    """The files, unless they were written, belong to somebody else, or there is no room."""
    if "write_file" not in conversation.tools or conversation.answers("write_file"):
        return
    if report.result is None and report.research is None:
        return
    paths = [path for path in targets(conversation) if may_write(conversation, path)]
    # JSON escapes line ends and quotes, which the arguments of a call have to bear as well.
    left = room * 9 // 10 - 200 * len(paths)
    if not paths or left // len(paths) < _LEAST_REPORT_BYTES:
        return
    texts: dict[str, str] = {}
    for path in sorted(paths, key=lambda name: not name.endswith(".py")):
        texts[path] = artifact_text(report, path, left // (len(paths) - len(texts)))
        left -= len(texts[path].encode())
    for number, path in enumerate(paths, 1):
        digest = digest_at(conversation, path)
        yield conversation.call(
            number, "write_file", path=path, content=texts[path], overwrite=digest
        )


def answer_text(conversation: Conversation, report: Report, room: int) -> str:
    """The report where no file holds it, else its summary; then the verdicts."""
    written = [
        str(exchange.arguments.get("path"))
        for exchange in conversation.answers("write_file")
        if not exchange.is_error
    ]
    ending = _ending(report, written)
    size = len(ending.encode()) + (0 if report.texts else _LONGER_VERDICT)
    room = min(room, _ANSWER_BYTES + len(ending) * 2) - size - 1
    notes = [*_unwritten(conversation, report, written)]

    def build(limit: int) -> str:
        if written and not notes:
            return _short(report, written, limit)
        before = visible_lines([*notes, *([""] if notes else [])])
        return "\n".join(filter(None, (before, markdown(report, limit)))).rstrip()

    text = fitted(build, room)
    if len(text.encode()) > room:
        text = fitted(lambda limit: _short(report, written, limit), room)
    if len(text.encode()) > room:
        text = f"{summary_of(report)} {MARK}"
    if report.texts:
        return text + ending
    report.texts = [text]  # then this is what the verdicts are about
    return text + _ending(report, written)


def _ending(report: Report, written: list[str]) -> str:
    block = criteria_block(report, written)
    return f"\n\n{block}" if block else ""


def _unwritten(conversation: Conversation, report: Report, written: list[str]) -> list[str]:
    failed = {
        str(e.arguments.get("path")): " ".join(e.content.split())[:200]
        for e in conversation.answers("write_file")
        if e.is_error
    }
    notes = [f"{path} was not written: {why}." for path, why in failed.items()]
    for path in targets(conversation) if "write_file" in conversation.tools else []:
        if path in failed or path in written:
            continue
        if not may_write(conversation, path):
            notes.append(f"{path} exists and is not ours, so it was not replaced.")
        elif report.result is not None or report.research is not None:
            notes.append(f"{path} was not written: the budget has no room for it.")
    return notes


def _short(report: Report, written: list[str], limit: int) -> str:
    lines = [f"{report.job.title}: {summary_of(report)}", ""]
    if written:
        lines += [f"The whole report: {', '.join(written)}.", ""]
    lines += [f"Problem: {problem}" for problem in report.problems]
    if report.result is not None:
        few = min(limit, 10)
        shown = report.result.findings[:few]
        lines += finding_lines(shown)
        if len(shown) < sum(report.result.counts.values()) and written:
            lines.append("- the others are in the report")
        lines += [
            f"- {code(f'{case.path}:{case.line}')} {case.function}: {case.kind}"
            for case in report.result.tests[:few]
        ]
        lines += _not_analysed(report.result)
    elif report.research is not None:
        lines += report.research.sources[: min(limit, 10)]
    return visible_lines([*lines, "", MARK, report.job.limits]).strip()


def _not_analysed(result: Result) -> list[str]:
    kinds = ", ".join(f"{name} {number}" for name, number in result.searched.items())
    lines = []
    if kinds:
        lines.append(f"Not analysed, only searched for secrets and the like: {kinds} files.")
    if result.left_out:
        lines.append(f"Not read: {counted(sum(result.left_out.values()), 'file')}.")
    return lines
