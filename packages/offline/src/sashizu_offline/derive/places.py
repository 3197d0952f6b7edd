"""Where modules lie, how they are imported, and whether importing them is safe to predict."""

from __future__ import annotations

import ast
import keyword
import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.derive.machine import Links

__all__ = ["Importer", "Module", "declared_packages"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EFFECTS = _words(
    "builtins.open builtins.input builtins.exec builtins.eval builtins.exit builtins.quit "
    "builtins.__import__ builtins.breakpoint sys.exit os.system os.popen os.fork os._exit "
    "os.chdir os.remove os.unlink os.makedirs os.mkdir time.sleep asyncio.run anyio.run "
    "importlib.import_module"
)
"""Calls that a module must not make while it is imported."""

_EFFECT_ROOTS = _words(
    "subprocess socket urllib http requests httpx aiohttp sqlite3 psycopg2 psycopg pymysql "
    "multiprocessing ftplib smtplib shutil tkinter curses readline"
)
"""Packages none of whose functions may be called while a module is imported."""

_EFFECT_METHODS = _words("parse_args run main connect serve_forever mainloop exit start read_text")


_OF_PYTEST = _words("pytest pluggy iniconfig packaging pygments exceptiongroup colorama")
"""Modules that are there before a test is: the workspace's own of that name is never imported."""


def _is_name(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part)


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the workspace. `root` is the folder that must be on the path; `.` is the top."""

    name: str
    root: str
    path: str


def _name_of(package: str) -> str:
    return re.sub(r"[-_.]+", "_", package).lower()


def declared_packages(texts: Mapping[str, str]) -> set[str]:
    """Import names that the project's own files declare as dependencies, as far as names tell."""
    found: set[str] = set()
    for path, text in texts.items():
        name = PurePosixPath(path).name
        if name == "pyproject.toml":
            try:
                found |= _declared_in(tomllib.loads(text))
            except tomllib.TOMLDecodeError:
                continue
        elif re.fullmatch(r"requirements[\w.-]*\.txt", name):
            found |= {m.group() for m in re.finditer(r"^[A-Za-z][\w.-]*", text, re.MULTILINE)}
    return {_name_of(package) for package in found} | ({"yaml"} if _has_yaml(found) else set())


def _has_yaml(found: Collection[str]) -> bool:
    return any(_name_of(package) == "pyyaml" for package in found)


def _declared_in(document: Mapping[str, Any]) -> set[str]:
    project = document.get("project", {})
    wanted = list(project.get("dependencies", []) if isinstance(project, dict) else [])
    poetry = document.get("tool", {}).get("poetry", {}).get("dependencies", {})
    wanted += list(poetry)
    return {m.group() for text in wanted if (m := re.match(r"[A-Za-z][\w.-]*", str(text)))}


class Importer:
    """Tells of each module whether importing it works, as far as reading it tells.

    What it imports must be of the standard library, of the workspace or declared as a dependency,
    and its own statements must only define and compute.
    """

    def __init__(self, files: Mapping[str, PythonFile], declared: Collection[str]) -> None:
        self._files = files
        self._declared = declared
        self._verdicts: dict[str, str] = {}
        self.modules = {path: made for path in files if (made := self._module(path))}
        self._by_name = {module.name: module for module in self.modules.values()}

    def _module(self, path: str) -> Module | None:
        place = PurePosixPath(path)
        if place.suffix != ".py":
            return None
        parts = [] if place.name == "__init__.py" else [place.stem]
        folder = place.parent
        while f"{folder.as_posix()}/__init__.py".removeprefix("./") in self._files:
            if folder.name == "":
                return None
            parts.insert(0, folder.name)
            folder = folder.parent
        if not parts or not all(map(_is_name, parts)):
            return None
        if parts[0] in sys.stdlib_module_names or parts[0] in _OF_PYTEST:
            return None
        return Module(".".join(parts), folder.as_posix(), path)

    def problem(self, path: str) -> str:
        """Why importing a module is not certain to work; empty when it is."""
        if path not in self._verdicts:
            self._verdicts[path] = ""  # a circle of imports is judged by its other members
            self._verdicts[path] = self._judge(path)
        return self._verdicts[path]

    def _judge(self, path: str) -> str:
        module = self.modules.get(path)
        if module is None:
            return "its name can not be imported"
        if self._by_name[module.name].path != path:
            return f"two files are named {module.name}"
        top, _, _ = module.name.rpartition(".")
        while top:
            package = self._by_name.get(top)
            if package is not None and (problem := self.problem(package.path)):
                return problem
            top = top.rpartition(".")[0]
        for statement in self._files[path].tree.body:
            if problem := self._statement(statement, path):
                if problem.startswith("importing "):
                    return problem  # the deepest cause is the one to know
                return f"importing {module.name} may fail: line {statement.lineno} {problem}"
        return ""

    def _statement(self, node: ast.stmt, path: str) -> str:
        match node:
            case ast.Import(names=names):
                return self._imports([alias.name for alias in names])
            case ast.ImportFrom():
                return self._imports([self._absolute(node, path)])
            case ast.Try():
                return self._guarded_import(node, path)
            case ast.If():
                return self._condition(node, path)
            case ast.ClassDef(body=body):
                outer = [*node.decorator_list, *node.bases, *[k.value for k in node.keywords]]
                return self._values(outer, path) or self._block(body, path)
            case ast.Assign(value=value) | ast.AugAssign(value=value) | ast.Expr(value=value):
                return self._value(value, path)
            case ast.For(iter=value, body=body, orelse=orelse):
                return self._value(value, path) or self._block([*body, *orelse], path)
            case ast.AnnAssign(value=assigned):
                return self._values([assigned] if assigned else [], path)
            case ast.FunctionDef(args=arguments) | ast.AsyncFunctionDef(args=arguments):
                defaults = [d for d in (*arguments.defaults, *arguments.kw_defaults) if d]
                return self._values([*node.decorator_list, *defaults], path)
            case _:
                kind = type(node).__name__
                return "" if isinstance(node, ast.Pass) else f"runs a statement of kind {kind}"

    def _guarded_import(self, node: ast.Try, path: str) -> str:
        """An import that may fail, with a plan for that."""
        guarded = any("ImportError" in _caught(handler) for handler in node.handlers)
        if not guarded or not all(_is_import(statement) for statement in node.body):
            return "tries something"
        inner = [statement for handler in node.handlers for statement in handler.body]
        return self._block([*inner, *node.orelse, *node.finalbody], path)

    def _condition(self, node: ast.If, path: str) -> str:
        test = ast.unparse(node.test)
        if "TYPE_CHECKING" in test or "__name__" in test:
            return ""
        return self._value(node.test, path) or self._block([*node.body, *node.orelse], path)

    def _values(self, nodes: list[ast.expr], path: str) -> str:
        return next(filter(None, (self._value(node, path) for node in nodes)), "")

    def _block(self, body: list[ast.stmt], path: str) -> str:
        return next(filter(None, (self._statement(s, path) for s in body)), "")

    def _value(self, node: ast.expr, path: str) -> str:
        """What about computing a value may fail elsewhere or does more than to compute."""
        file = self._files[path]
        for child in _evaluated(node):
            match child:
                case ast.Await() | ast.Yield() | ast.YieldFrom():
                    return "awaits something"
                case ast.Subscript(value=owner) if file.dotted(owner) in ("os.environ", "sys.argv"):
                    return f"needs {ast.unparse(child)}"
                case ast.Call() if _has_effect(child, file.dotted(child.func)):
                    return f"calls {ast.unparse(child.func)}()"
                case _:
                    pass
        return ""

    def _absolute(self, node: ast.ImportFrom, path: str) -> str:
        if node.level == 0:
            return node.module or ""
        module = self.modules.get(path)
        if module is None:
            return "."
        parts = module.name.split(".")
        keep = len(parts) - node.level + (1 if path.endswith("__init__.py") else 0)
        base = parts[:keep]
        return ".".join([*base, *([node.module] if node.module else [])])

    def links(self, path: str) -> Links:
        """Where the names come from that a file imports from other files of the workspace."""
        imported = {
            alias.asname or alias.name: (self._absolute(node, path), alias.name)
            for node in self._files[path].tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

        def find(name: str) -> tuple[ast.Module, str, Links] | None:
            module, other = imported.get(name, ("", ""))
            found = self._by_name.get(module)
            if found is None:
                return None
            return self._files[found.path].tree, other, self.links(found.path)

        return find

    def _imports(self, names: list[str]) -> str:
        for name in names:
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            if name in self._by_name:
                if problem := self.problem(self._by_name[name].path):
                    return problem
            elif _name_of(top) not in self._declared:
                return f"imports {name!r}, which is neither of the standard library nor declared"
        return ""


def _evaluated(node: ast.expr) -> list[ast.AST]:
    """The parts of an expression that run when it is computed: not the bodies of lambdas."""
    found: list[ast.AST] = []
    stack: list[ast.AST] = [node]
    while stack:
        current = stack.pop()
        found.append(current)
        if not isinstance(current, ast.Lambda):
            stack.extend(ast.iter_child_nodes(current))
    return found


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _caught(handler: ast.ExceptHandler) -> str:
    return "ImportError" if handler.type is None else ast.unparse(handler.type)


def _has_effect(node: ast.Call, dotted: str) -> bool:
    if dotted in _EFFECTS or dotted.partition(".")[0] in _EFFECT_ROOTS:
        return True
    return isinstance(node.func, ast.Attribute) and node.func.attr in _EFFECT_METHODS
