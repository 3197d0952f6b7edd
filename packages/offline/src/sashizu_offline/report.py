"""Reports as text: Markdown for people, JSON for programs, each cut to the room there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from sashizu_core.prompt import Brief

from sashizu_offline.derive.cases import Untested
from sashizu_offline.derive.testfile import test_file
from sashizu_offline.findings import SEVERITIES, Finding
from sashizu_offline.jobs import Job
from sashizu_offline.languages import CODE
from sashizu_offline.research import Research
from sashizu_offline.results import Result
from sashizu_offline.visible import code, visible_json, visible_lines

__all__ = [
    "MARK",
    "Report",
    "artifact_text",
    "counted",
    "finding_lines",
    "fitted",
    "markdown",
    "summary",
    "unknown_code",
]

MARK = "Written by the offline model of sashizu: rules and parsers; no language model was used."
"""In every report; also how a file of an earlier run is known."""

_STEPS = (1000, 400, 200, 100, 60, 40, 25, 15, 10, 5, 3, 1, 0)
"""How many entries of each list are tried until a text fits."""


@dataclass
class Report:
    """What there is to say.

    `problems` are tools that failed or were missing, `texts` the reports that were written.
    """

    brief: Brief
    job: Job
    result: Result | None = None
    research: Research | None = None
    problems: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def fitted(build: Callable[[int], str], room: int) -> str:
    """The longest of the texts that fits into `room` bytes; the shortest where none does."""
    text = build(_STEPS[0])
    for limit in _STEPS[1:]:
        if _size(text) <= room:
            break
        text = build(limit)
    return text


def _more(count: int, what: str) -> list[str]:
    return [f"- … and {count} more {what}, left out for size"] if count > 0 else []


def counted(number: int, what: str) -> str:
    """`1 finding`, `2 findings`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def unknown_code(result: Result) -> str:
    """The programs in other languages, whose functions are not known: `Go 3, Rust 1 files`."""
    programs = {name: n for name, n in result.searched.items() if name in CODE}
    return f"{_numbers(programs)} files" if programs else ""


def _numbers(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


# --- sections -------------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """One sentence with the numbers."""
    result = report.result
    if report.research is not None:
        return report.research.summary
    if result is None:
        return "Nothing could be analysed."
    if "tests" in result.checks:
        tests = len(result.tests) + result.tests_unlisted
        others = unknown_code(result)
        return (
            f"{counted(tests, 'test')} derived from "
            f"{counted(result.analysed.get('Python', 0), 'Python file')}; "
            f"{counted(result.untested_count, 'public function')} without a test"
            + (f"; nothing is known of {others}." if others else ".")
        )
    total = sum(result.counts.values())
    if not total:
        return f"No finding in {counted(result.files, 'file')}."
    severities: dict[str, int] = {
        name: result.counts[name] for name in SEVERITIES if name in result.counts
    }
    return (
        f"{counted(total, 'finding')} in {counted(result.files, 'file')}: {_numbers(severities)}."
    )


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """One line a finding: place, rule, what is wrong and what to do."""
    return [f"- {code(f'{f.path}:{f.line}')} {f.message} ({f.rule})" for f in findings]


def _finding_section(result: Result, limit: int) -> list[str]:
    lines: list[str] = []
    shown = sorted(result.findings, key=lambda f: SEVERITIES.index(f.severity))[:limit]
    for severity in SEVERITIES:
        of_kind = [finding for finding in shown if finding.severity == severity]
        if of_kind:
            lines += ["", f"### {severity.capitalize()}", "", *finding_lines(of_kind)]
    left = sum(result.counts.values()) - len(shown)
    if left > 0:
        lines += ["", *_more(left, "findings")]
        if result.unlisted:
            lines.append(f"- the analysis had no room for: {_numbers(result.unlisted)}")
    if result.suppressed:
        lines += ["", f"{result.suppressed} further findings are marked as known in the source."]
    return ["## Findings", *(lines or ["", "None."]), ""]


def _test_section(result: Result, limit: int) -> list[str]:
    cases = [
        f"- {code(f'{case.path}:{case.line}')} {case.function} ({case.kind}; "
        f"{case.caught} of {case.tried} small changes of it make the test fail)"
        for case in result.tests[:limit]
    ]
    cases += _more(len(result.tests) + result.tests_unlisted - len(cases), "tests")
    gaps = _gap_lines(result.untested[:limit])
    gaps += _more(result.untested_count - min(limit, len(result.untested)), "untested functions")
    lines = ["## Tests", "", *(cases or ["None."]), "", "## Untested", "", *(gaps or ["None."]), ""]
    if result.partly_count:
        lines += ["## Partly tested", "", *_gap_lines(result.partly[:limit])]
        left = result.partly_count - min(limit, len(result.partly))
        lines += [*_more(left, "functions"), ""]
    return lines


def _gap_lines(gaps: Sequence[Untested]) -> list[str]:
    """One line for each file and reason, with `name:line` of every function."""
    rows: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        rows.setdefault((gap.path, gap.reason), []).append(f"{gap.function}:{gap.line}")
    return [
        f"- {code(path)}: {reason}: {', '.join(names)}" for (path, reason), names in rows.items()
    ]


def _coverage(result: Result, limit: int) -> list[str]:
    lines = [f"- analysed: {_numbers(result.analysed) or 'nothing'} files"]
    if result.linter and result.analysed.get("Python"):
        lines.append(f"- Python was also checked with {result.linter}")
    if result.searched:
        kinds = _numbers(result.searched)
        lines.append(
            f"- not analysed, only searched for secrets, unresolved merges and switched-off "
            f"certificate checks: {kinds}"
        )
    for reason, number in result.left_out.items():
        lines.append(f"- not read: {counted(number, 'file')}: {reason}")
    if result.unread:
        names = ", ".join(map(code, result.unread[:limit]))
        left = len(result.unread) + result.unread_unlisted - min(limit, len(result.unread))
        lines.append(f"- these are: {names}" + (f" and {left} more" if left else ""))
    if result.incomplete:
        lines.append("- there are more files than one analysis takes: neither read nor named")
    lines += [f"- not parsed: {text}" for text in result.unparsed[: max(1, limit)]]
    if result.cut:
        lines.append("- the answer of the analysis was cut on its way: the lists are incomplete")
    return ["## What was looked at", "", *lines, ""]


def markdown(report: Report, limit: int) -> str:
    """The report with at most so many entries in each list."""
    lines = [f"# {report.job.title}", "", MARK, "", f"Task: {_one_line(report.brief.goal)}", ""]
    if report.brief.scope:
        lines += [f"Scope: {', '.join(report.brief.scope)}", ""]
    lines += [summary(report), ""]
    lines += [f"Problem: {problem}" for problem in report.problems]
    if report.problems:
        lines.append("")
    result = report.result
    if result is not None:
        if "tests" in result.checks:
            lines += _test_section(result, limit)
        else:
            lines += _finding_section(result, limit)
        lines += _coverage(result, limit)
    if report.research is not None:
        lines += report.research.lines(limit)
    lines += ["## What this report can not say", "", report.job.limits, ""]
    return visible_lines(lines)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


# --- artifacts ------------------------------------------------------------------------------------


def _as_json(report: Report, limit: int) -> str:
    result = report.result
    document: dict[str, object] = {
        "generator": MARK,
        "task": _one_line(report.brief.goal),
        "summary": summary(report),
        "problems": report.problems,
        "limits": report.job.limits,
    }
    if result is not None:
        document["counts"] = result.counts
        document["findings"] = [
            {"path": f.path, "line": f.line, "rule": f.rule, "severity": f.severity}
            | {"message": f.message}
            for f in result.findings[:limit]
        ]
        document["left_out_for_size"] = max(
            0, sum(result.counts.values()) - min(limit, len(result.findings))
        )
        document["tests"] = [
            {"path": case.path, "line": case.line, "function": case.function, "kind": case.kind}
            for case in result.tests[:limit]
        ]
        document["untested"] = [
            {"path": g.path, "line": g.line, "function": g.function, "reason": g.reason}
            for g in result.untested[:limit]
        ]
        document["partly_tested"] = [
            {"path": g.path, "line": g.line, "function": g.function, "reason": g.reason}
            for g in result.partly[:limit]
        ]
        document["coverage"] = {
            "analysed": result.analysed,
            "searched_only": result.searched,
            "not_read": result.left_out,
            "not_parsed": result.unparsed,
            "unread": result.unread[:limit],
            "incomplete": result.incomplete,
        }
    if report.research is not None:
        document["sources"] = report.research.sources[:limit]
    return visible_json(document, indent=1) + "\n"


def artifact_text(report: Report, path: str, room: int) -> str:
    """The text of a declared file, by what its name says it is."""
    suffix = PurePosixPath(path).suffix
    if suffix == ".json":
        return fitted(lambda limit: _as_json(report, limit), room)
    if suffix == ".py" and report.result is not None:
        result = report.result
        return fitted(lambda limit: test_file(path, result.tests[:limit], MARK), room)
    return fitted(lambda limit: markdown(report, limit), room)
