"""Which findings of the linter to believe, given all the files it was shown one by one."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from sashizu_offline.checks.tree import MUTATING, Function, PythonFile
from sashizu_offline.findings import Finding

__all__ = ["believed"]

_OLD_BUILTINS = frozenset(
    {"unicode", "xrange", "basestring", "long", "unichr", "raw_input", "reduce", "file", "cmp"}
    | {"execfile", "reload", "buffer", "apply", "intern", "coerce"}
)
_INJECTED = frozenset({"_", "__", "ngettext", "get_ipython", "WindowsError"})
_IN_TESTS = frozenset(
    {"F841", "B018", "B015", "S113", "F811", "PLR0124", "E722", "PLW0133"}
    | {"B004", "PLW0211", "PLW1508"}
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


def _is_meant(finding: Finding, file: PythonFile) -> bool:
    """A bare `except` that re-raises, is explained, or is reported as a swallowed error."""
    for node in file.nodes:
        if isinstance(node, ast.ExceptHandler) and node.lineno == finding.line:
            explained = any("#" in line for line in file.lines[node.lineno - 1 : node.lineno + 1])
            ends = isinstance(node.body[-1], ast.Raise) or all(
                isinstance(statement, ast.Pass) for statement in node.body
            )
            return ends or explained
    return False


def _is_probe(finding: Finding, file: PythonFile) -> bool:
    """A name that is only tried out: `try: reduce` with a handler for its absence."""
    for node in file.nodes:
        if isinstance(node, ast.Try) and any(s.lineno == finding.line for s in node.body):
            caught = " ".join(ast.unparse(h.type) for h in node.handlers if h.type is not None)
            if re.search(r"NameError|ImportError|AttributeError", caught):
                return True
    return False


def _around(finding: Finding, file: PythonFile) -> Function | None:
    """The innermost function that a line lies in."""
    inside = [f for f in file.functions if f.lineno <= finding.line <= (f.end_lineno or f.lineno)]
    return max(inside, key=lambda f: f.lineno, default=None)


def _is_harmless_default(finding: Finding, file: PythonFile) -> bool:
    """A mutable default that the function neither changes nor keeps nor gives away."""
    function = _around(finding, file)
    if function is None:
        return True
    names = {name for name, default in _defaults(function) if default.lineno == finding.line}
    return not any(_lets_go(node, names) for node in ast.walk(function))


def _defaults(function: Function) -> Iterator[tuple[str, ast.expr]]:
    """The arguments whose defaults are containers."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    plain = arguments[len(arguments) - len(function.args.defaults) :]
    pairs = [
        *zip(plain, function.args.defaults, strict=True),
        *zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if isinstance(default, ast.List | ast.Dict | ast.Set | ast.Call | ast.ListComp):
            yield argument.arg, default


def _lets_go(node: ast.AST, names: set[str]) -> bool:
    """Whether a node changes, keeps or returns the value of one of the names."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)):
            return name in names and attr in MUTATING
        case ast.Assign(targets=targets, value=ast.Name(id=name)) if name in names:
            return any(isinstance(target, ast.Attribute) for target in targets)
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name in names
        case ast.AugAssign(target=ast.Name(id=name)) | ast.Return(value=ast.Name(id=name)):
            return name in names
        case _:
            return False


_DOUBTS: Mapping[str, Callable[[Finding, PythonFile], bool]] = {
    "F821": _is_old_python,
    "F822": _is_old_python,
    "E722": _is_meant,
    "B018": _is_probe,
    "PLW0133": _is_probe,
    "B006": _is_harmless_default,
    "F402": lambda finding, file: _around(finding, file) is not None,
    "PLW0127": lambda finding, file: _around(finding, file) is None,
}
"""When a finding of a rule is not believed."""


def believed(findings: Iterable[Finding], files: Mapping[str, PythonFile]) -> list[Finding]:
    """The findings that hold when the other files, the version and the purpose are considered."""
    findings = list(findings)
    taken = _imported_from(files.values()) if any(f.rule == "F401" for f in findings) else set()
    kept = []
    for finding in findings:
        file = files[finding.path]
        doubtful = file.in_tests and finding.rule in _IN_TESTS
        if not doubtful and finding.rule == "F401":
            doubtful = file.in_tests or _is_reexport(finding, file, taken)
        elif not doubtful and finding.rule in _DOUBTS:
            doubtful = _DOUBTS[finding.rule](finding, file)
        if not doubtful:
            kept.append(finding)
    return kept
