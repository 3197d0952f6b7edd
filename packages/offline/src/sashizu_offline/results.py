"""The answer of `analyze` as text: written by the tool, read back by the model.

JSON lines, so that an answer that was cut on its way is still of use up to where it was cut.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sashizu_offline.derive.cases import Derived, TestCase, Untested
from sashizu_offline.findings import Check, Finding
from sashizu_offline.languages import PARSED
from sashizu_offline.sources import Sources
from sashizu_offline.survey import Survey

__all__ = ["Result", "as_lines", "read_lines"]

_PER_RULE = 8
"""How many findings of one rule that can wait are listed before the others come first."""


@dataclass
class Result:
    """What an analysis found, in numbers and lists.

    `analysed` and `searched` count files by language: the former were parsed, the latter only
    searched for secrets, merges and certificate checks. `left_out` counts files that were not read
    by reason, `unread` names them (`unread_unlisted` more are not named; with `incomplete`
    there are more that nobody counted), `unparsed` are Python files of another version. `counts`
    are findings by severity before any cut, `unlisted` findings by rule that had no room.
    """

    checks: tuple[str, ...] = ()
    files: int = 0
    analysed: dict[str, int] = field(default_factory=dict)
    searched: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    unread_unlisted: int = 0
    incomplete: bool = False
    unparsed: list[str] = field(default_factory=list)
    linter: str = ""
    suppressed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    unlisted: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    tests: list[TestCase] = field(default_factory=list)
    tests_unlisted: int = 0
    untested: list[Untested] = field(default_factory=list)
    untested_count: int = 0
    partly: list[Untested] = field(default_factory=list)
    partly_count: int = 0
    cut: bool = False

    @classmethod
    def of(
        cls, checks: Collection[Check], sources: Sources, found: Survey, derived: Derived | None
    ) -> Result:
        languages = Counter(sources.languages.values())
        result = cls(
            checks=tuple(checks),
            files=len(sources.texts),
            analysed={name: n for name, n in sorted(languages.items()) if name in PARSED},
            searched={name: n for name, n in sorted(languages.items()) if name not in PARSED},
            left_out=dict(sorted(sources.left_out.items())),
            unread=list(dict.fromkeys(sources.unread)),
            incomplete=sources.incomplete,
            unparsed=[f"{path}: {why}" for path, why in sorted(found.unparsed.items())],
            linter=found.linter,
            suppressed=found.suppressed,
            counts=dict(Counter(finding.severity for finding in found.findings)),
            findings=found.findings,
        )
        if derived is not None:
            result.tests, result.untested = derived.cases, derived.untested
            result.untested_count = len(derived.untested)
            result.partly, result.partly_count = derived.partly, len(derived.partly)
        return result

    @property
    def head(self) -> dict[str, Any]:
        """Everything but the lists."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in ("findings", "tests", "untested", "partly", "cut") and value
        }


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) + 1


def _spread(findings: Sequence[Finding]) -> list[Finding]:
    """The findings in the order in which they get room: the first of every rule before the rest."""
    seen: Counter[str] = Counter()
    early: list[Finding] = []
    late: list[Finding] = []
    for finding in findings:
        seen[finding.rule] += 1
        first = finding.severity == "high" or seen[finding.rule] <= _PER_RULE
        (early if first else late).append(finding)
    return early + late


def _fill(entries: Iterable[Any], room: int) -> tuple[list[str], list[Any]]:
    """As many entries as fit into so many bytes, and those that do not."""
    lines: list[str] = []
    rest: list[Any] = []
    for entry, text in entries:
        size = _size(text)
        if rest or size > room:
            rest.append(entry)
            continue
        room -= size
        lines.append(text)
    return lines, rest


def _grouped(gaps: Iterable[Untested]) -> list[list[Any]]:
    """Rows of path, reason and pairs of line and function: each path and reason once."""
    rows: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for gap in gaps:
        rows.setdefault((gap.path, gap.reason), []).append((gap.line, gap.function))
    return [[path, reason, places] for (path, reason), places in rows.items()]


def as_lines(result: Result, max_bytes: int) -> str:
    """The answer in at most about `max_bytes` bytes, the worst findings first."""
    result.unparsed, more = result.unparsed[:20], len(result.unparsed) - 20
    if more > 0:
        result.unparsed.append(f"and {more} more")
    names, more_names = _fill(((name, name) for name in result.unread), max_bytes // 6)
    result.unread, result.unread_unlisted = names, len(more_names)
    room = max(0, max_bytes - _size(_line(result.head)) - 200)
    tests, tests_rest = _fill(
        ((case, _line({"test": case.as_row()})) for case in result.tests), room // 2
    )
    room -= sum(map(_size, tests))
    gaps = _grouped(result.untested)
    for_findings = room // 2 if result.findings else 0
    untested, _ = _fill(((gap, _line({"untested": gap})) for gap in gaps), room - for_findings)
    room -= sum(map(_size, untested))
    rows = _grouped(result.partly)
    partly, _ = _fill(((row, _line({"partly": row})) for row in rows), room - for_findings)
    room -= sum(map(_size, partly))
    findings, rest = _fill(
        (
            (f, _line([f.path, f.line, f.rule, f.severity, f.message]))
            for f in _spread(result.findings)
        ),
        room,
    )
    result.unlisted = dict(Counter(finding.rule for finding in rest))
    result.tests_unlisted = len(tests_rest)
    lines = [_line(result.head), *findings, *tests, *untested, *partly, _line({"end": True})]
    return "\n".join(lines)


def read_lines(text: str) -> Result | None:
    """Read an answer back; None when not even its first line is there.

    `cut` is set when the last line is missing.
    """
    result: Result | None = None
    for line in text.split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            break
        if result is None:
            result = _read_head(value)
            if result is None:
                return None
            result.cut = True
        else:
            _read_entry(result, value)
    return result


def _read_head(value: object) -> Result | None:
    if not isinstance(value, Mapping) or "checks" not in value:
        return None
    known = {name: value[name] for name in Result.__dataclass_fields__ if name in value}
    result = Result(**known)
    result.checks = tuple(result.checks)
    return result


def _read_entry(result: Result, value: object) -> None:
    match value:
        case [str(path), int(line), str(rule), "high" | "medium" | "low" as severity, str(message)]:
            result.findings.append(Finding(path, line, rule, severity, message))
        case {"test": list(row)}:
            result.tests.append(TestCase.of_row(row))
        case {"untested": [str(path), str(reason), list(places)]}:
            result.untested += [Untested(path, line, name, reason) for line, name in places]
        case {"partly": [str(path), str(reason), list(places)]}:
            result.partly += [Untested(path, line, name, reason) for line, name in places]
        case {"end": True}:
            result.cut = False
        case _:
            pass
