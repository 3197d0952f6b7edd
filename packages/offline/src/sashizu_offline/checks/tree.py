"""A parsed Python file, and what can be told about its names without running it."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from threading import Lock

from sashizu_offline.findings import Finding, Severity
from sashizu_offline.languages import is_test_path

__all__ = [
    "FUNCTIONS",
    "MUTATING",
    "Function",
    "PythonFile",
    "keyword",
    "literal",
    "names_in",
    "parsed",
]

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

MUTATING = frozenset(
    {"remove", "pop", "append", "insert", "clear", "add", "discard", "popitem", "update"}
    | {"extend", "setdefault", "sort", "reverse"}
)
"""Methods that change a container in place."""

_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)

_SUPPRESSED = re.compile(r"#\s*(noqa|nosec|pragma: allowlist|type: ignore\[)", re.IGNORECASE)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument."""
    return next((word.value for word in call.keywords if word.arg == name), None)


def literal(node: ast.AST | None) -> object:
    """The value of a constant; an `Ellipsis` for anything else, which no rule compares with."""
    return node.value if isinstance(node, ast.Constant) else ...


def names_in(node: ast.AST) -> set[str]:
    """All names, attributes and keyword names below a node, in lower case."""
    found: set[str] = set()
    for child in ast.walk(node):
        match child:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name.lower())
            case ast.keyword(arg=str(name)):
                found.add(name.lower())
            case ast.Constant(value=str(text)) if len(text) < 40:
                found.add(text.lower())
            case _:
                pass
    return found


_PARSING = Lock()


def parsed(text: str) -> ast.Module:
    """Parse a text without the warnings of the compiler, which are about other people's code.

    Raises as `ast.parse`.
    """
    # Filters of warnings belong to the process: two threads must not change them at once.
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def compiled(text: str) -> None:
    """Compile a text without running it, for what parses and is no program.

    Raises as `compile`.
    """
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(text, "<text>", "exec", dont_inherit=True)


@dataclass
class PythonFile:
    """A Python file that parses. `path` is relative to the workspace."""

    path: str
    text: str
    tree: ast.Module
    suppressed: int = field(default=0, compare=False)

    @classmethod
    def parse(cls, path: str, text: str) -> PythonFile:
        """Parse a text.

        Raises:
            SyntaxError: it is no Python of this interpreter's version.
            ValueError: it holds a NUL byte.
            RecursionError: it nests too deeply.
        """
        return cls(path, text, parsed(text))

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")  # as the parser counts; splitlines() knows other ends

    @cached_property
    def in_tests(self) -> bool:
        return is_test_path(self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, FUNCTIONS)]

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called, empty when it can not be told."""
        return [(node, self.dotted(node.func)) for node in self.nodes if isinstance(node, ast.Call)]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """From the parent up to the module."""
        while (above := self.parents.get(node)) is not None:
            yield above
            node = above

    def function_of(self, node: ast.AST) -> Function | None:
        """The innermost function around a node."""
        return next((up for up in self.ancestors(node) if isinstance(up, FUNCTIONS)), None)

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        return next((up for up in self.ancestors(node) if isinstance(up, ast.ClassDef)), None)

    @cached_property
    def imports(self) -> dict[str, str]:
        """Local name to dotted name of everything that is imported anywhere in the file."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    found[name] = alias.name if alias.asname else name
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{base}.{alias.name}"
        return found

    @cached_property
    def bound(self) -> set[str]:
        """Names that the file binds itself anywhere but by importing."""
        found: set[str] = set()
        for node in self.nodes:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(name)
                case ast.ClassDef(name=name) | ast.arg(arg=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case _:
                    pass
        return found

    def dotted(self, node: ast.AST) -> str:
        """`subprocess.run` for a name or attribute that leads there; empty when it is not told."""
        match node:
            case ast.Name(id=name):
                if name in self.imports:
                    return self.imports[name]
                if name not in self.bound and hasattr(builtins, name):
                    return f"builtins.{name}"
                return ""
            case ast.Attribute(value=value, attr=attr):
                base = self.dotted(value)
                return f"{base}.{attr}" if base else ""
            case _:
                return ""

    @cached_property
    def dead(self) -> list[tuple[ast.stmt, ast.stmt]]:
        """Statements that can not run because of the one before, and that one."""
        return [
            (after, ending)
            for node in self.nodes
            for name in ("body", "orelse", "finalbody")
            if isinstance(body := getattr(node, name, None), list)
            for ending, after in pairwise(body)
            if isinstance(ending, _ENDS)
        ]

    @cached_property
    def dead_lines(self) -> set[int]:
        """The lines that never run."""
        found: set[int] = set()
        for node, _ in self.dead:
            body = next(
                part
                for part in ast.iter_fields(self.parents[node])
                if isinstance(part[1], list) and node in part[1]
            )[1]
            found.update(range(node.lineno, (body[-1].end_lineno or node.lineno) + 1))
        return found

    def is_suppressed(self, line: int) -> bool:
        """Whether the author marked the line as known."""
        return 0 < line <= len(self.lines) and bool(_SUPPRESSED.search(self.lines[line - 1]))

    def finding(self, node: ast.AST, rule: str, severity: Severity, message: str) -> Finding:
        return Finding(self.path, getattr(node, "lineno", 1), rule, severity, message)

    @cached_property
    def main_guard_lines(self) -> set[int]:
        """Lines below `if __name__ == "__main__"`."""
        return {
            line
            for node in self.tree.body
            if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
