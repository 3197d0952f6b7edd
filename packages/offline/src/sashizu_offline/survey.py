"""All checks over a set of sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import anyio

from sashizu_offline.checks.belief import believed
from sashizu_offline.checks.crypto import crypto_findings
from sashizu_offline.checks.documents import entry_point_findings, link_findings
from sashizu_offline.checks.execution import execution_findings
from sashizu_offline.checks.guards import guard_findings
from sashizu_offline.checks.secrets import python_secrets, text_secrets
from sashizu_offline.checks.slips import slip_findings
from sashizu_offline.checks.text import (
    merge_findings,
    syntax_findings,
    tls_findings,
    workflow_findings,
)
from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.checks.web import web_findings
from sashizu_offline.derive.wrong import example_findings
from sashizu_offline.findings import Check, Finding, ranked
from sashizu_offline.linter import SECURITY_RULES, run_ruff
from sashizu_offline.sources import Sources

__all__ = ["Survey", "survey", "survey_without_linter"]

_BATCH = 40
"""Files that are checked between two chances to be cancelled."""


@dataclass
class Survey:
    """What the checks found. `suppressed` counts findings that the authors marked as known."""

    findings: list[Finding] = field(default_factory=list)
    python: dict[str, PythonFile] = field(default_factory=dict)
    suppressed: int = 0
    linter: str = ""
    unparsed: dict[str, str] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)


def _parse_python(sources: Sources, into: Survey) -> None:
    """Parse every Python file; those that do not parse are kept with their reason."""
    for path, text in sources.of("Python").items():
        try:
            into.python[path] = PythonFile.parse(path, text)
        except SyntaxError as error:
            into.unparsed[path] = f"line {error.lineno}: {error.msg}"
        except (ValueError, RecursionError, MemoryError) as error:
            into.unparsed[path] = str(error) or type(error).__name__


def _syntax_errors(into: Survey) -> Iterator[Finding]:
    """Files that do not parse are defects, unless they are another Python's or a template's."""
    for path, problem in into.unparsed.items():
        if not problem.startswith("line ") or "print" in problem or "'exec'" in problem:
            continue
        number = problem.removeprefix("line ").partition(":")[0]
        line = int(number) if number.isdigit() else 1
        yield Finding(
            path, line, "syntax-error", "high", f"Python can not parse it: {problem}; repair it"
        )


def _python_findings(file: PythonFile, checks: Collection[Check]) -> Iterator[Finding]:
    if "review" in checks:
        yield from slip_findings(file)
        yield from example_findings(file)
    if "security" in checks:
        yield from execution_findings(file)
        yield from web_findings(file)
        yield from crypto_findings(file)
        yield from guard_findings(file)
        yield from python_secrets(file)


def _text_findings(
    sources: Sources, path: str, python: dict[str, PythonFile], checks: Collection[Check]
) -> Iterator[Finding]:
    text, language = sources.texts[path], sources.languages[path]
    if "security" in checks:
        yield from text_secrets(path, text)
        yield from tls_findings(path, language, text)
        if language == "GitHub workflow":
            yield from workflow_findings(path, text)
    if "review" in checks:
        yield from merge_findings(path, text)
        yield from syntax_findings(path, language, text)
        if language == "Markdown":
            yield from link_findings(path, text, sources.exists)
        if path.rpartition("/")[2] == "pyproject.toml":
            yield from entry_point_findings(path, text, python)


def _checked(
    sources: Sources, into: Survey, paths: list[str], checks: Collection[Check]
) -> list[Finding]:
    found: list[Finding] = []
    for path in paths:
        found += _text_findings(sources, path, into.python, checks)
        if path in into.python:
            try:
                found += _python_findings(into.python[path], checks)
            except RecursionError:
                into.unparsed[path] = "it nests too deeply to be checked"
    return found


async def survey(sources: Sources, checks: Collection[Check]) -> Survey:
    """Run the checks that were asked for. Cancellable between batches of files.

    Raises:
        ToolError: ruff is not there, fails or takes too long.
    """
    result = Survey()
    await anyio.to_thread.run_sync(_parse_python, sources, result)
    found: list[Finding] = []
    if "review" in checks:
        found += _syntax_errors(result)
    if "review" in checks or "security" in checks:
        paths = sorted(sources.texts)
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            found += await anyio.to_thread.run_sync(_checked, sources, result, batch, checks)
        found += await _linted(result, checks)
    _keep(result, found)
    return result


def survey_without_linter(sources: Sources, checks: Collection[Check]) -> Survey:
    """Our own checks alone, for files that were read one by one. Blocks."""
    result = Survey()
    _parse_python(sources, result)
    found = list(_syntax_errors(result)) if "review" in checks else []
    _keep(result, [*found, *_checked(sources, result, sorted(sources.texts), checks)])
    return result


async def _linted(result: Survey, checks: Collection[Check]) -> list[Finding]:
    texts = {path: file.text for path, file in result.python.items()}
    linted = await run_ruff(texts)
    result.linter = linted.version
    wanted = [
        finding
        for finding in linted.findings
        if ("security" if finding.rule in SECURITY_RULES else "review") in checks
    ]
    return await anyio.to_thread.run_sync(believed, wanted, result.python)


def _keep(result: Survey, found: list[Finding]) -> None:
    for finding in ranked(found):
        file = result.python.get(finding.path)
        if file is not None and file.is_suppressed(finding.line):
            result.suppressed += 1
            continue
        if file is not None and finding.line in file.dead_lines and "code" not in finding.rule:
            continue  # what never runs does no harm
        result.findings.append(finding)
        result.rules[finding.rule] += 1
