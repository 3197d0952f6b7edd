"""Which findings of the linter to believe, given all the files it was shown one by one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.findings import Finding

__all__ = ["believed"]

_OLD_BUILTINS = frozenset(
    {"unicode", "xrange", "basestring", "long", "unichr", "raw_input", "reduce", "file", "cmp"}
    | {"execfile", "reload", "buffer", "apply", "intern", "coerce"}
)
_INJECTED = frozenset({"_", "__", "ngettext", "get_ipython", "WindowsError"})
_IN_TESTS = frozenset(
    {"F841", "B018", "B015", "S113", "F811", "RUF059", "PLR0124", "E722", "PLW0133"}
)
_MISSING = re.compile(r"`([^`]+)`")


def _imported_from(files: Iterable[PythonFile]) -> set[tuple[str, str]]:
    """Pairs of a module's last name and a name that some file takes from it."""
    taken: set[tuple[str, str]] = set()
    for file in files:
        for node in file.nodes:
            match node:
                case ast.ImportFrom(module=module, names=names):
                    last = (module or "").rpartition(".")[2]
                    taken |= {(last, alias.name) for alias in names}
                case ast.Attribute(value=ast.Name(id=owner), attr=attr):
                    taken.add((owner, attr))
                    imported = file.imports.get(owner, "").rpartition(".")[2]
                    taken.add((imported, attr))
                case ast.Attribute(value=ast.Attribute(attr=owner), attr=attr):
                    taken.add((owner, attr))
                case _:
                    pass
    return taken


def _in_conditional(file: PythonFile, line: int, kinds: tuple[type[ast.AST], ...]) -> bool:
    return any(
        isinstance(node, kinds) and node.lineno <= line <= (node.end_lineno or node.lineno)  # type: ignore[attr-defined]
        for node in file.nodes
    )


def _is_reexport(finding: Finding, file: PythonFile, taken: set[tuple[str, str]]) -> bool:
    """An import that others use, or whose failing is what it is there for."""
    place = PurePosixPath(finding.path)
    if place.name == "__init__.py" or _in_conditional(file, finding.line, (ast.Try,)):
        return True
    if any(isinstance(n, ast.Name) and n.id == "__all__" for n in file.nodes):
        return False
    found = _MISSING.search(finding.message)
    name = found.group(1).rpartition(".")[2] if found else ""
    return (place.stem, name) in taken or (place.stem, "*") in taken


def _is_old_python(finding: Finding, file: PythonFile) -> bool:
    """A name of Python 2 behind a test for the version, or one that is put into builtins."""
    found = _MISSING.search(finding.message)
    name = found.group(1) if found else ""
    if name in _INJECTED:
        return True
    guarded = (ast.If, ast.IfExp, ast.Try)
    return name in _OLD_BUILTINS and _in_conditional(file, finding.line, guarded)


def _is_told_by_us(finding: Finding, file: PythonFile) -> bool:
    """A bare `except` that only re-raises or that we report as a swallowed error."""
    for node in file.nodes:
        if isinstance(node, ast.ExceptHandler) and node.lineno == finding.line:
            last = node.body[-1]
            return isinstance(last, ast.Raise) or all(isinstance(s, ast.Pass) for s in node.body)
    return False


def believed(findings: Iterable[Finding], files: Mapping[str, PythonFile]) -> list[Finding]:
    """The findings that hold when the other files, the version and the purpose are considered."""
    findings = list(findings)
    taken = _imported_from(files.values()) if any(f.rule == "F401" for f in findings) else set()
    kept = []
    for finding in findings:
        file = files[finding.path]
        match finding.rule:
            case "F401":
                doubtful = file.in_tests or _is_reexport(finding, file, taken)
            case "F821" | "F822":
                doubtful = _is_old_python(finding, file)
            case "E722":
                doubtful = file.in_tests or _is_told_by_us(finding, file)
            case _:
                doubtful = file.in_tests and finding.rule in _IN_TESTS
        if not doubtful:
            kept.append(finding)
    return kept
