"""What to do next in a conversation: which tools to call, or what to answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from sashizu_core.types import ModelRequest, ToolCall

from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.criteria import criteria_block
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
from sashizu_offline.research import Research, as_pattern, file_names, question_words, read_hits
from sashizu_offline.results import Result, read_lines
from sashizu_offline.tokens import BYTES_PER_TOKEN, input_tokens, spent_before

__all__ = ["Step", "next_step"]

_ANALYSIS_BYTES = {"review": 16_000, "security": 16_000, "tests": 28_000}
"""How long the answer of `analyze` may be where the budget says nothing: 4,000 to 7,000 tokens."""

_REPORT_BYTES = 24_000
_ANSWER_BYTES = 6_000
_LEAST_REPORT_BYTES = 800
_READ_AROUND = 12
"""Lines read before and after a hit."""

_DIGEST = re.compile(r"sha256 ([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Step:
    """Either tool calls or an answer."""

    calls: tuple[ToolCall, ...] = ()
    answer: str = ""


def next_step(request: ModelRequest, output_cap: int) -> Step:
    """Plan from the messages alone. `output_cap` is in tokens."""
    conversation = Conversation.read(request)
    job = choose_job(conversation.brief)
    gather = _gather_words if job is JOBS["research"] else _gather_analysis
    calls = tuple(gather(conversation, job, request))
    if calls:
        return Step(calls)
    report = _report(conversation, job)
    room = _room(conversation, request, output_cap)
    calls = tuple(_writes(conversation, report, room))
    if calls:
        return Step(calls)
    return Step(answer=_answer(conversation, report, output_cap * BYTES_PER_TOKEN))


# --- gathering ------------------------------------------------------------------------------------


def _gather_analysis(
    conversation: Conversation, job: Job, request: ModelRequest
) -> Iterator[ToolCall]:
    """First the analysis, and a look at files that are to be written; then, without it, files."""
    scope = list(conversation.brief.scope) or None
    if not conversation.exchanges:
        if "analyze" in conversation.tools:
            size = _analysis_bytes(conversation, job, request)
            checks = list(job.checks)
            yield conversation.call(1, "analyze", paths=scope, checks=checks, max_bytes=size)
        else:
            yield from _listings(conversation)
        yield from _looks(conversation)
    elif _analysis(conversation) is None and not conversation.answers("list_files"):
        if "analyze" in conversation.tools and not readings(conversation):
            yield from _listings(conversation)
    elif conversation.answers("list_files") and len(_turns(conversation)) == 1:
        yield from _reads(conversation, request)


def _turns(conversation: Conversation) -> list[Exchange]:
    """The reads that are no look at a file to be written, one for the listing if there is none."""
    done = readings(conversation)
    return [*conversation.answers("list_files")[:1], *done]


def _analysis_bytes(conversation: Conversation, job: Job, request: ModelRequest) -> int:
    """What is left, less three calls of today's size, is shared by the analysis and the report."""
    most = _ANALYSIS_BYTES.get(job.name, 16_000)
    left = conversation.brief.tokens_left
    if left is None:
        return most
    return max(1_000, min(most, left - 3 * input_tokens(request) - 600))


def _listings(conversation: Conversation) -> Iterator[ToolCall]:
    if "list_files" in conversation.tools and "read_file" in conversation.tools:
        for number, path in enumerate(conversation.brief.scope or (None,), 1):
            yield conversation.call(number, "list_files", path=path, limit=400)


def _looks(conversation: Conversation) -> Iterator[ToolCall]:
    """What is at the places that are to be written: nothing, an earlier report, or a person's."""
    if "read_file" in conversation.tools and "write_file" in conversation.tools:
        for number, path in enumerate(_targets(conversation), 50):
            yield conversation.call(number, "read_file", path=path, first=1, last=4)


def _reads(conversation: Conversation, request: ModelRequest) -> Iterator[ToolCall]:
    """Files to read one by one, as many as the budget bears."""
    left = conversation.brief.tokens_left
    room = 12 if left is None else max(1, min(12, (left - 4 * input_tokens(request)) // 3_000))
    names = [
        line
        for exchange in conversation.answers("list_files")
        if not exchange.is_error
        for line in exchange.content.split("\n")
        if line and not line.startswith("[") and not line.endswith("/")
    ]
    wanted = sorted(names, key=lambda name: (not name.endswith(".py"), name))
    for number, name in enumerate(wanted[:room], 1):
        yield conversation.call(number, "read_file", path=name)


def _gather_words(
    conversation: Conversation, job: Job, request: ModelRequest
) -> Iterator[ToolCall]:
    """First search, then read around what was found."""
    assert job is JOBS["research"]
    goal = conversation.brief.goal
    words, names = question_words(goal), file_names(goal)
    if not conversation.exchanges:
        yield from _searches(conversation, words, names)
        yield from _looks(conversation)
    elif not readings(conversation) and "read_file" in conversation.tools:
        yield from _reads_around(conversation, request)


def _searches(conversation: Conversation, words: list[str], names: list[str]) -> Iterator[ToolCall]:
    scope = conversation.brief.scope or (None,)
    if "read_file" in conversation.tools:
        for number, name in enumerate(names, 1):
            yield conversation.call(number, "read_file", path=name)
    if words and "codebase_search" in conversation.tools:
        yield conversation.call(20, "codebase_search", query=" ".join(words))
    if words and "grep" in conversation.tools:
        for number, path in enumerate(scope, 21):
            pattern = as_pattern(words)
            yield conversation.call(
                number, "grep", pattern=pattern, path=path, ignore_case=True, limit=60
            )
    if conversation.has_brief and "list_files" in conversation.tools:
        for number, path in enumerate(scope, 30):
            yield conversation.call(number, "list_files", path=path, limit=200)


def _reads_around(conversation: Conversation, request: ModelRequest) -> Iterator[ToolCall]:
    left = conversation.brief.tokens_left
    if left is not None and left < 6 * input_tokens(request):
        return
    found = Research.of(conversation)
    first: dict[str, int] = {}
    for hit in read_hits([*conversation.answers("grep"), *conversation.answers("codebase_search")]):
        first.setdefault(hit.path, hit.line)
    for number, path in enumerate(found.files[:4], 1):
        start = max(1, first.get(path, 1) - _READ_AROUND)
        yield conversation.call(
            number, "read_file", path=path, first=start, last=start + 4 * _READ_AROUND
        )


# --- reporting ------------------------------------------------------------------------------------


def _analysis(conversation: Conversation) -> Result | None:
    for exchange in conversation.answers("analyze"):
        if not exchange.is_error and (result := read_lines(exchange.content)) is not None:
            return result
    return None


def _report(conversation: Conversation, job: Job) -> Report:
    report = Report(conversation.brief, job)
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
    report.result = _analysis(conversation)
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
    return exchange.tool == "read_file" and exchange.arguments.get("path") in _targets(conversation)


def _targets(conversation: Conversation) -> list[str]:
    """The files to write: declared ones, patterns made concrete, derived tests beside a report."""
    paths = [_concrete(target.path) for target in conversation.brief.artifacts]
    is_tests = choose_job(conversation.brief) is JOBS["tests"]
    if paths and is_tests and not any(path.endswith(".py") for path in paths):
        paths.append(str(PurePosixPath(paths[0]).with_name("test_derived.py")))
    return list(dict.fromkeys(paths))


def _concrete(path: str) -> str:
    """One name that a pattern matches."""
    parts = [part for part in path.split("/") if part != "**"]
    return "/".join(re.sub(r"\[[^\]]*\]|\?", "x", part).replace("*", "derived") for part in parts)


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
    targets = [path for path in _targets(conversation) if _may_write(conversation, path)]
    # JSON escapes line ends and quotes, which the arguments of a call have to bear as well.
    left = room * 9 // 10 - 200 * len(targets)
    if not targets or left // len(targets) < _LEAST_REPORT_BYTES:
        return
    texts: dict[str, str] = {}
    for path in sorted(targets, key=lambda name: not name.endswith(".py")):
        texts[path] = artifact_text(report, path, left // (len(targets) - len(texts)))
        left -= len(texts[path].encode())
    for number, path in enumerate(targets, 1):
        digest = _digest_at(conversation, path)
        yield conversation.call(
            number, "write_file", path=path, content=texts[path], overwrite=digest
        )


def _look_at(conversation: Conversation, path: str) -> Exchange | None:
    for exchange in conversation.answers("read_file"):
        if exchange.arguments.get("path") == path and not exchange.is_error:
            return exchange
    return None


def _digest_at(conversation: Conversation, path: str) -> str | None:
    look = _look_at(conversation, path)
    found = _DIGEST.findall(look.content) if look else []
    return found[-1] if found else None


def _may_write(conversation: Conversation, path: str) -> bool:
    """Nothing is there, or what an earlier run of this model wrote."""
    look = _look_at(conversation, path)
    return look is None or MARK in look.content


def _answer(conversation: Conversation, report: Report, room: int) -> str:
    """The report where no file holds it, else its summary; then the verdicts."""
    written = [
        str(exchange.arguments.get("path"))
        for exchange in conversation.answers("write_file")
        if not exchange.is_error
    ]
    block = criteria_block(report, written)
    ending = f"\n\n{block}" if block else ""
    room = min(room, _ANSWER_BYTES + len(ending) * 2) - len(ending.encode()) - 1
    notes = [*_unwritten(conversation, report, written)]

    def build(limit: int) -> str:
        if written and not notes:
            return _short(report, written, limit)
        return "\n".join([*notes, *([""] if notes else []), markdown(report, limit)]).rstrip()

    text = fitted(build, room)
    if len(text.encode()) > room:
        text = fitted(lambda limit: _short(report, written, limit), room)
    if len(text.encode()) > room:
        text = f"{summary_of(report)} {MARK}"
    return text + ending


def _unwritten(conversation: Conversation, report: Report, written: list[str]) -> list[str]:
    failed = {
        str(e.arguments.get("path")): " ".join(e.content.split())[:200]
        for e in conversation.answers("write_file")
        if e.is_error
    }
    notes = [f"{path} was not written: {why}." for path, why in failed.items()]
    for path in _targets(conversation) if "write_file" in conversation.tools else []:
        if path in failed or path in written:
            continue
        if not _may_write(conversation, path):
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
            f"- `{case.path}:{case.line}` {case.function}: {case.kind}"
            for case in report.result.tests[:few]
        ]
        lines += _not_analysed(report.result)
    elif report.research is not None:
        lines += report.research.sources[: min(limit, 10)]
    return "\n".join([*lines, "", MARK, report.job.limits]).strip()


def _not_analysed(result: Result) -> list[str]:
    kinds = ", ".join(f"{name} {number}" for name, number in result.searched.items())
    lines = []
    if kinds:
        lines.append(f"Not analysed, only searched for secrets and the like: {kinds} files.")
    if result.left_out:
        lines.append(f"Not read: {counted(sum(result.left_out.values()), 'file')}.")
    return lines
