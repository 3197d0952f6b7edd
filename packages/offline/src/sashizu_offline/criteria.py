"""Judges success criteria: met or not met where a rule can see it, else not checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sashizu_offline.report import Report, counted, unknown_code
from sashizu_offline.results import Result
from sashizu_offline.visible import code, visible_json

__all__ = ["criteria_block", "judge"]

Verdict = tuple[str, str]
Judge = Callable[[Report, Sequence[str]], Verdict]

_JSON_FUNCTION = re.compile(r'"line": (\d+),\s+"function": "([\w.]+)"')
_UNKNOWN: Verdict = ("not checked", "the offline model has no rule that could show it")


def _result(report: Report) -> Result:
    assert report.result is not None
    return report.result


def _places(report: Report, _written: Sequence[str]) -> Verdict:
    result = _result(report)
    total = sum(result.counts.values())
    listed = len(result.findings)
    if total > listed:
        return "not met", f"{listed} of {total} findings are listed with path:line"
    return "met", f"{counted(total, 'finding')}, each with path:line"


def _remedies(report: Report, written: Sequence[str]) -> Verdict:
    verdict, evidence = _places(report, written)
    return verdict, f"{evidence}; each has a severity, what is wrong and what to do"


def _unread(report: Report, _written: Sequence[str]) -> Verdict:
    result = _result(report)
    total = sum(result.left_out.values())
    if result.incomplete:
        return "not met", "there are more files than one analysis takes, and they are not listed"
    if result.unread_unlisted or result.cut:
        return "not met", f"{result.unread_unlisted} names of unread files had no room"
    named = max((_shown(result.unread, text) for text in report.texts), default=len(result.unread))
    if named < len(result.unread):
        return "not met", f"{named} of {len(result.unread)} names of unread files are listed"
    others = unknown_code(result)
    searched = f"; {others} were only searched for secrets and the like" if others else ""
    if not total:
        return "met", f"all {result.files} files were read{searched}"
    where = "under 'What was looked at', with the reasons"
    return "met", f"{counted(named, 'name')} for {counted(total, 'unread file')} {where}{searched}"


def _shown(names: Sequence[str], text: str) -> int:
    """How many of the names a report holds."""
    return sum(code(name) in text or visible_json(name) in text for name in names)


def _untested(report: Report, _written: Sequence[str]) -> Verdict:
    result = _result(report)
    if "tests" not in result.checks:
        return _UNKNOWN
    listed, partly = len(result.untested), len(result.partly)
    if others := unknown_code(result):
        return "not met", f"the functions of {others} are not known; {listed} of Python are listed"
    wanted = result.untested_count + result.partly_count
    names = [f"{gap.function}:{gap.line}" for gap in (*result.untested, *result.partly)]
    shown = max((_held(names, text) for text in report.texts), default=listed + partly)
    if shown < wanted:
        return "not met", f"{shown} of {wanted} are listed, the rest had no room"
    more = f", {partly} partly tested" if partly else ""
    return "met", f"listed with path:line and the reason: {counted(listed, 'function')}{more}"


def _held(names: Sequence[str], text: str) -> int:
    """How many of the names of functions a report holds; the tests themselves are no report."""
    found = set(re.findall(r"[\w.]+:\d+", text))
    found |= {f"{name}:{line}" for line, name in _JSON_FUNCTION.findall(text)}
    return sum(name in found for name in names)


def _derived(report: Report, _written: Sequence[str]) -> Verdict:
    result = _result(report)
    if "tests" not in result.checks:
        return _UNKNOWN
    kinds = sorted({case.kind for case in result.tests})
    if not kinds:
        return "met", "no test was written, so no expectation is made up"
    return "met", f"every expectation comes from one of: {', '.join(kinds)}"


def _sources(report: Report, _written: Sequence[str]) -> Verdict:
    if report.research is None:
        return _UNKNOWN
    return "met", f"{len(report.research.sources)} lines are quoted with path:line, nothing else"


def _unanswered(report: Report, _written: Sequence[str]) -> Verdict:
    if report.research is None:
        return _UNKNOWN
    return "met", "words without a hit are listed, and that no conclusion is drawn"


def _artifact(_report: Report, written: Sequence[str]) -> Verdict:
    if written:
        return "met", f"written: {', '.join(written)}"
    return "not met", "no file was written"


def _none_left(report: Report, _written: Sequence[str]) -> Verdict:
    high = _result(report).counts.get("high", 0)
    if high:
        return "not met", f"{high} findings of high severity"
    return "not checked", "no rule found any, which does not show that there is none"


def _needs_a_run(_report: Report, _written: Sequence[str]) -> Verdict:
    return "not checked", "the offline model runs no program"


_RULES: tuple[tuple[str, Judge], ...] = (
    (r"tests? (?:must )?pass|coverage|build|compile|benchmark|mutation", _needs_a_run),
    (r"finding\w* .*(?:severity|remedy|mend|fix)", _remedies),
    (r"finding\w* .*\b(?:file|line|place)", _places),
    (r"untested", _untested),
    (r"expectation\w* .*derived|derived from", _derived),
    (r"not (?:looked at|read|analy[sz]ed)", _unread),
    (r"statement\w* .*source|source\w* .*statement", _sources),
    (r"not answer", _unanswered),
    (r"\bno\b.*(?:critical|high|vulnerab|defect|bug|secret)", _none_left),
    (r"report .*(?:written|created|exists)|artifact", _artifact),
)
_WITHOUT_RESULT = (_needs_a_run, _sources, _unanswered, _artifact)


def judge(criterion: str, report: Report, written: Sequence[str]) -> Verdict:
    """The verdict on one criterion and its evidence. `written` are the files that were written."""
    for pattern, rule in _RULES:
        if re.search(pattern, criterion, re.IGNORECASE):
            if report.result is None and rule not in _WITHOUT_RESULT:
                return "not checked", "nothing was analysed"
            return rule(report, written)
    return _UNKNOWN


def criteria_block(report: Report, written: Sequence[str]) -> str:
    """The block that ends a final answer; empty without criteria."""
    if not report.brief.criteria:
        return ""
    entries = []
    for number, criterion in enumerate(report.brief.criteria, 1):
        verdict, evidence = judge(criterion, report, written)
        entries.append({"criterion": number, "verdict": verdict, "evidence": evidence})
    lines = ",\n".join(map(visible_json, entries))
    return f"```criteria\n[{lines}]\n```"
