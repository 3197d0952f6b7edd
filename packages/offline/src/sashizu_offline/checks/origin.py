"""Where a value comes from: is it fixed in the source, or can somebody outside choose it?"""

from __future__ import annotations

import ast
from typing import Literal

from sashizu_offline.checks.tree import FUNCTIONS, Function, PythonFile

__all__ = ["Origin", "origin_of"]

Origin = Literal["fixed", "internal", "parameter", "outside", "request"]
"""From what the source alone decides to what a stranger decides: `internal` is an attribute or the
result of a call we know nothing about, `outside` is the command line, the environment or input."""

_RANK: tuple[Origin, ...] = ("fixed", "internal", "parameter", "outside", "request")

_REQUEST_FIELDS = frozenset(
    {"args", "form", "values", "json", "data", "GET", "POST", "cookies", "headers", "files"}
    | {"query_params", "path_params", "get_json", "body", "query", "query_string", "params"}
)
_NEUTRAL_CALLS = frozenset(
    {"shlex.quote", "shlex.join", "pipes.quote", "builtins.int", "builtins.float", "builtins.len"}
    | {"builtins.bool", "builtins.id", "builtins.hash", "builtins.ord", "html.escape"}
    | {"markupsafe.escape", "flask.escape", "django.utils.html.escape", "urllib.parse.quote"}
    | {"urllib.parse.quote_plus", "uuid.uuid4", "time.time", "os.getpid", "builtins.range"}
    | {"werkzeug.utils.secure_filename", "os.path.basename"}
)
_OUTSIDE_CALLS = frozenset(
    {"builtins.input", "os.getenv", "os.environ.get", "sys.stdin.read", "sys.stdin.readline"}
)
_FIXED_NAMES = frozenset({"__name__", "__file__", "__doc__", "__version__"})
_FIXED_ATTRIBUTES = frozenset({"sys.executable", "sys.prefix", "os.sep", "os.linesep", "sys.path"})
_MAX_DEPTH = 12


def _worst(origins: list[Origin]) -> Origin:
    return max(origins, key=_RANK.index, default="fixed")


def _is_request(node: ast.Attribute) -> bool:
    return (
        node.attr in _REQUEST_FIELDS
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) == "request"
    )


class _Tracer:
    """Follows one value. Every branch counts; the least trusted one decides."""

    def __init__(self, file: PythonFile) -> None:
        self.file = file
        self.seen: set[tuple[int, str]] = set()
        self.known: dict[tuple[int, str], Origin | None] = {}

    def of(self, node: ast.AST | None, depth: int = 0) -> Origin:
        if node is None or depth > _MAX_DEPTH:
            return "internal"
        match node:
            case ast.Constant():
                return "fixed"
            case ast.Name():
                return self.name(node, depth)
            case ast.Attribute():
                return self.attribute(node, depth)
            case ast.Call():
                return self.call(node, depth)
            case ast.BinOp(left=ast.Constant() as left, op=ast.Mult()):
                return self.of(left, depth + 1)
            case ast.BinOp(left=left, op=ast.Mult(), right=ast.expr()):
                return self.of(left, depth + 1)
            case _:
                return self.parts(node, depth)

    def parts(self, node: ast.AST, depth: int) -> Origin:
        if isinstance(node, ast.Compare):
            return "fixed"
        wanted = _parts(node)
        if wanted is None:
            return "internal"
        return _worst([self.of(part, depth + 1) for part in wanted])

    def attribute(self, node: ast.Attribute, depth: int) -> Origin:
        if _is_request(node):
            return "request"
        dotted = self.file.dotted(node)
        if dotted in ("sys.argv", "os.environ", "sys.stdin"):
            return "outside"
        if dotted in _FIXED_ATTRIBUTES or node.attr.isupper() or node.attr in _FIXED_NAMES:
            return "fixed"
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            return self.own_attribute(node)
        return max("internal", self.of(node.value, depth + 1), key=_RANK.index)

    def own_attribute(self, node: ast.Attribute) -> Origin:
        """An attribute of the object itself: fixed when only the class body sets it."""
        owner = self.file.class_of(node)
        if owner is None:
            return "internal"
        for child in ast.walk(owner):
            if (
                isinstance(child, ast.Attribute)
                and child.attr == node.attr
                and isinstance(child.ctx, ast.Store)
            ):
                return "internal"
        for statement in owner.body:
            if isinstance(statement, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == node.attr
                for target in statement.targets
            ):
                return self.of(statement.value)
        return "internal"

    def call(self, node: ast.Call, depth: int) -> Origin:
        dotted = self.file.dotted(node.func)
        if dotted in _NEUTRAL_CALLS:
            return "fixed"
        if dotted in _OUTSIDE_CALLS:
            return "outside"
        arguments = [*node.args, *[word.value for word in node.keywords]]
        if dotted in ("builtins.compile", "textwrap.dedent"):
            return self.of(next(iter(arguments), None), depth + 1)
        passed = [self.of(argument, depth + 1) for argument in arguments]
        if isinstance(node.func, ast.Attribute):
            passed.append(self.of(node.func.value, depth + 1))
            if self.is_text_method(node.func):
                return _worst(passed)
        elif dotted in ("builtins.str", "builtins.repr", "builtins.list", "builtins.sorted"):
            return _worst(passed)
        return _worst([*passed, "internal"])

    @staticmethod
    def is_text_method(func: ast.Attribute) -> bool:
        return func.attr in {"format", "join", "strip", "lower", "upper", "replace", "encode"} | {
            "decode", "rstrip", "lstrip", "split", "title", "format_map", "items", "keys", "values"
        }  # fmt: skip

    def name(self, node: ast.Name, depth: int) -> Origin:
        if node.id in _FIXED_NAMES or (node.id.isupper() and len(node.id) > 1):
            return "fixed"
        scope = self.file.function_of(node)
        while scope is not None:
            found = self.in_function(node.id, scope, depth)
            if found is not None:
                return found
            scope = self.file.function_of(scope)
        if node.id in self.file.imports:
            return "internal"
        return self.bindings(node.id, self.file.tree, depth) or "internal"

    def in_function(self, name: str, scope: Function, depth: int) -> Origin | None:
        """The origin of a local name; None when the function does not bind it."""
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        assigned = self.bindings(name, scope, depth)
        if any(argument.arg == name for argument in every):
            return _worst(["parameter", *([assigned] if assigned else [])])
        return assigned

    def bindings(self, name: str, scope: ast.AST, depth: int) -> Origin | None:
        """The worst origin of what a scope assigns to a name; None when it never does."""
        key = (id(scope), name)
        if key in self.known:
            return self.known[key]
        if key in self.seen:
            return "fixed"  # reached again through itself: the other assignments decide
        self.seen.add(key)
        values = [self.of(value, depth + 1) for value in _assigned(name, scope)]
        self.seen.discard(key)
        self.known[key] = _worst(values) if values else None
        return self.known[key]


def _targets(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def _parts(node: ast.AST) -> list[ast.expr] | None:
    """The expressions that a value is made of; None when that can not be told."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.JoinedStr(values=values) | ast.BoolOp(values=values) | ast.Dict(values=values):
            return values
        case ast.Tuple(elts=elts) | ast.List(elts=elts) | ast.Set(elts=elts):
            return elts
        case ast.ListComp(elt=elt) | ast.GeneratorExp(elt=elt) | ast.SetComp(elt=elt):
            return [elt]
        case ast.UnaryOp(operand=value):
            return [value]
        case (
            ast.FormattedValue(value=value)
            | ast.Starred(value=value)
            | ast.Await(value=value)
            | ast.NamedExpr(value=value)
            | ast.Subscript(value=value)
        ):
            return [value]
        case _:
            return None


def _binding(node: ast.AST) -> tuple[list[ast.expr], ast.expr | None]:
    """What a node assigns to, and what it assigns."""
    match node:
        case ast.Assign(targets=targets, value=value):
            return targets, value
        case (
            ast.AnnAssign(target=target, value=value)
            | ast.AugAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
            | ast.For(target=target, iter=value)
            | ast.AsyncFor(target=target, iter=value)
            | ast.comprehension(target=target, iter=value)
        ):
            return [target], value
        case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
            return [target], value
        case _:
            return [], None


def _assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    """The expressions that a scope binds to a name, without those of nested functions."""
    found: list[ast.expr] = []
    stack: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        stack.extend(ast.iter_child_nodes(node))
        targets, value = _binding(node)
        if value is not None and any(name in _targets(t) for t in targets if not _is_item(t)):
            found.append(value)
    return found


def _is_item(target: ast.AST) -> bool:
    return isinstance(target, ast.Subscript | ast.Attribute)


def origin_of(file: PythonFile, node: ast.AST | None) -> Origin:
    """The least trusted place that a value can come from."""
    return _Tracer(file).of(node)
