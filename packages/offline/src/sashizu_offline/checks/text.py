"""What can be told about any text file, whatever its language."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator

from sashizu_offline.findings import Finding
from sashizu_offline.languages import is_test_path

__all__ = ["merge_findings", "syntax_findings", "tls_findings", "workflow_findings"]

_TLS_OFF: dict[str, re.Pattern[str]] = {
    "Go": re.compile(r"\bInsecureSkipVerify\s*:\s*true\b"),
    "JavaScript": re.compile(
        r"\brejectUnauthorized\s*:\s*false\b|NODE_TLS_REJECT_UNAUTHORIZED['\"]?\]?\s*=\s*['\"]?0"
    ),
    "PHP": re.compile(r"CURLOPT_SSL_VERIFY(?:PEER|HOST)\s*(?:,|=>)\s*(?:false|0)\b"),
    "Ruby": re.compile(r"OpenSSL::SSL::VERIFY_NONE"),
    "C#": re.compile(r"DangerousAcceptAnyServerCertificateValidator"),
}
_TLS_OFF["TypeScript"] = _TLS_OFF["JavaScript"]
_LONGEST_LINE = 2_000
"""Longer lines are generated; patterns are not tried on them, which hostile ones would stall."""

_COMMENT = re.compile(r"^\s*(//|#|\*|/\*)")

_UNTRUSTED = re.compile(
    r"\$\{\{[^}]*\bgithub\.(?:event\.(?:issue|pull_request|comment|review|discussion)"
    r"\.(?:title|body|head\.ref|head\.label)|event\.head_commit\.message|head_ref)\b[^}]*\}\}"
)


def merge_findings(path: str, text: str) -> Iterator[Finding]:
    """Conflict markers that a merge left behind."""
    if is_test_path(path):
        return
    start = middle = 0
    for number, line in enumerate(text.split("\n") if "<<<<<<< " in text else (), 1):
        if line.startswith("<<<<<<< "):
            start, middle = number, 0
        elif line == "=======" and start:
            middle = number
        elif line.startswith(">>>>>>> ") and middle:
            yield Finding(
                path,
                start,
                "merge-conflict",
                "high",
                "an unresolved merge: both versions and the markers are in the file; keep one",
            )
            start = middle = 0


def tls_findings(path: str, language: str, text: str) -> Iterator[Finding]:
    """Certificate checks that are switched off, in languages that are not parsed."""
    pattern = _TLS_OFF.get(language)
    if pattern is None or is_test_path(path):
        return
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) < _LONGEST_LINE and pattern.search(line) and not _COMMENT.match(line):
            yield Finding(
                path,
                number,
                "tls-unverified",
                "high",
                "certificates are not checked, so anybody on the way can read and change the "
                "traffic; trust the right CA instead",
            )


def syntax_findings(path: str, language: str, text: str) -> Iterator[Finding]:
    """JSON and TOML that do not parse. JSON with comments is a format of its own and left out."""
    if is_test_path(path) or not text.strip():
        return
    if language == "JSON":
        if re.search(r"^\s*(//|/\*)", text, re.MULTILINE) or re.search(r",\s*[}\]]", text):
            return
        if "{{" in text or "{%" in text or "${" in text:
            return  # a template
        try:
            json.loads(text.removeprefix("\ufeff"))
        except json.JSONDecodeError as error:
            yield Finding(
                path, error.lineno, "broken-json", "high", f"no JSON: {error.msg}; repair it"
            )
        except RecursionError:
            return
    elif language == "TOML" and "{{" not in text:
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = int(found.group(1)) if found else 1
            yield Finding(path, line, "broken-toml", "high", f"no TOML: {error}; repair it")


def workflow_findings(path: str, text: str) -> Iterator[Finding]:
    """Text that a stranger writes, pasted into a script of a GitHub workflow."""
    indent: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        here = len(line) - len(line.lstrip())
        starts = re.match(r"^\s*(?:-\s+)?run:", line)
        if starts:
            indent = line.index("run:")
        elif indent is not None and line.strip() and here <= indent:
            indent = None
        if (
            indent is not None
            and _UNTRUSTED.search(line[:_LONGEST_LINE])
            and not line.lstrip().startswith("#")
        ):
            yield Finding(
                path,
                number,
                "workflow-injection",
                "high",
                "a title, body or branch name that anybody can choose becomes part of the script; "
                "pass it through `env:` and use the variable",
            )
