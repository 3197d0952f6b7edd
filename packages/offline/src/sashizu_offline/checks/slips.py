"""Slips in Python that ruff does not report: dead code, lost errors, lost coroutines, leaks."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from sashizu_offline.checks.tree import FUNCTIONS, MUTATING, Function, PythonFile
from sashizu_offline.findings import Finding

__all__ = ["slip_findings"]

_CHANGES = MUTATING - {"sort", "reverse"}


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
            yield body


def _unreachable(file: PythonFile) -> Iterator[Finding]:
    for after, ending in file.dead:
        if not _may_be_meant(after):
            word = type(ending).__name__.lower()
            yield file.finding(
                after,
                "unreachable-code",
                "medium",
                f"never runs: the {word} in line {ending.lineno} comes first; delete or move it",
            )


def _may_be_meant(statement: ast.stmt) -> bool:
    """A `yield` behind a `return` turns the function into a generator on purpose."""
    return any(isinstance(child, ast.Yield | ast.YieldFrom) for child in ast.walk(statement))


def _swallowed(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    if not isinstance(node, ast.ExceptHandler) or not _is_empty(node.body):
        return
    caught = "everything" if node.type is None else file.dotted(node.type)
    if caught not in ("everything", "builtins.Exception", "builtins.BaseException"):
        return
    first, last = node.lineno, node.body[-1].end_lineno or node.lineno
    if any("#" in line for line in file.lines[first - 1 : last]):
        return  # the author says why
    block = file.parents.get(node)
    if isinstance(block, ast.Try) and _is_last_words(file, block):
        return
    what = caught.removeprefix("builtins.")
    yield file.finding(
        node,
        "swallowed-error",
        "medium",
        f"`except{'' if node.type is None else ' ' + what}` drops every error without a word, "
        "typing mistakes included; catch what is expected, or log it",
    )


def _is_empty(body: Sequence[ast.stmt]) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def _is_last_words(file: PythonFile, block: ast.Try) -> bool:
    """Closing and tidying up may fail silently: `__del__`, and blocks that only close or delete."""
    function = file.function_of(block)
    if function is not None and function.name in ("__del__", "__exit__", "close", "shutdown"):
        return True
    return all(
        isinstance(s, ast.Expr)
        and isinstance(s.value, ast.Call)
        and isinstance(s.value.func, ast.Attribute)
        and s.value.func.attr
        in {"close", "terminate", "kill", "unlink", "remove", "shutdown", "rmtree", "cancel"}
        for s in block.body
    )


def _lost_coroutines(file: PythonFile) -> Iterator[Finding]:
    """Calls of our own `async def` whose result nobody takes."""
    module_level = {node.name: node for node in file.tree.body if isinstance(node, FUNCTIONS)}
    for node in file.nodes:
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
            continue
        match node.value.func:
            case ast.Name(id=name) if _is_rebound(file, node, name):
                continue
            case ast.Name(id=name):
                target: Function | None = module_level.get(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                target = _method(file, node, name)
            case _:
                continue
        if isinstance(target, ast.AsyncFunctionDef) and _is_plain_coroutine(target):
            yield file.finding(
                node,
                "lost-coroutine",
                "high",
                f"{name}() is async: without `await` its body never runs",
            )


def _is_rebound(file: PythonFile, node: ast.AST, name: str) -> bool:
    """Whether an enclosing function binds the name itself."""
    return any(
        isinstance(up, FUNCTIONS)
        and any(
            (isinstance(child, ast.arg) and child.arg == name)
            or (isinstance(child, FUNCTIONS) and child is not up and child.name == name)
            or (
                isinstance(child, ast.Name)
                and child.id == name
                and isinstance(child.ctx, ast.Store)
            )
            for child in ast.walk(up)
        )
        for up in file.ancestors(node)
    )


def _is_plain_coroutine(function: ast.AsyncFunctionDef) -> bool:
    return not function.decorator_list and not any(
        isinstance(child, ast.Yield) for child in ast.walk(function)
    )


def _method(file: PythonFile, node: ast.AST, name: str) -> Function | None:
    owner = file.class_of(node)
    if owner is None:
        return None
    found = [item for item in owner.body if isinstance(item, FUNCTIONS) and item.name == name]
    return found[0] if len(found) == 1 else None


def _changed_while_iterated(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    if not isinstance(node, ast.For):
        return
    iterated = _iterated(node.iter)
    over = ast.unparse(iterated)
    if not isinstance(iterated, ast.Name | ast.Attribute):
        return
    if iterated is not node.iter and not _is_dict(file, over):
        return  # keys() of other mappings may be a list
    for child in ast.walk(node):
        changed = _changed(child)
        if changed is None or ast.unparse(changed) != over or _leaves_loop(file, child, node):
            continue
        yield file.finding(
            child,
            "changed-while-iterated",
            "high",
            f"`{over}` is changed while the loop in line {node.lineno} runs over it, so items are "
            "skipped or an error is raised; loop over a copy",
        )
        return


def _is_dict(file: PythonFile, text: str) -> bool:
    """Whether the file makes a dict under this name."""
    return any(
        isinstance(node, ast.Assign)
        and any(ast.unparse(target) == text for target in node.targets)
        and (
            isinstance(node.value, ast.Dict | ast.DictComp)
            or (isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "dict")
        )
        for node in file.nodes
    )


def _iterated(node: ast.expr) -> ast.expr:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="items" | "keys" | "values"), args=[]):
            return value
        case _:
            return node


def _changed(node: ast.AST) -> ast.expr | None:
    """What a node makes longer or shorter."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _CHANGES:
            return value
        case ast.Delete(targets=[ast.Subscript(value=value, slice=where)]) if not isinstance(
            where, ast.Slice
        ):
            return value
        case _:
            return None


def _leaves_loop(file: PythonFile, node: ast.AST, loop: ast.For) -> bool:
    """Whether the loop ends right after the change, or a function is only defined in it."""
    while node is not loop:
        above = file.parents[node]
        if isinstance(above, (*FUNCTIONS, ast.Lambda)):
            return True
        for body in _bodies(above):
            if isinstance(node, ast.stmt) and node in body:
                rest = body[body.index(node) + 1 :]
                if any(isinstance(s, ast.Break | ast.Return | ast.Raise) for s in rest):
                    return True
        if above is loop and node in loop.orelse:
            return True
        node = above
    return False


def _same_branches(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    if not isinstance(node, ast.If) or not node.orelse or _is_elif(node.orelse):
        return
    above = file.parents.get(node)
    if isinstance(above, ast.If) and above.orelse == [node]:
        return  # the end of a chain: equal ends can be meant
    body, other = (ast.dump(ast.Module(part, [])) for part in (node.body, node.orelse))
    if body == other and not _is_empty(node.body):
        yield file.finding(
            node,
            "same-branches",
            "medium",
            "both branches do the same, so the condition decides nothing: one of them is wrong "
            "or the `if` can go",
        )


def _is_elif(orelse: list[ast.stmt]) -> bool:
    return len(orelse) == 1 and isinstance(orelse[0], ast.If)


def _repeated_conditions(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    above = file.parents.get(node)
    if not isinstance(node, ast.If) or (isinstance(above, ast.If) and above.orelse == [node]):
        return
    seen: dict[str, int] = {}
    link: ast.If | None = node
    while link is not None:
        if not any(
            isinstance(c, ast.Call | ast.NamedExpr | ast.Await) for c in ast.walk(link.test)
        ):
            text = ast.dump(link.test)
            if text in seen:
                yield file.finding(
                    link,
                    "repeated-condition",
                    "high",
                    f"the same condition was already tested in line {seen[text]}, so this branch "
                    "never runs",
                )
            seen.setdefault(text, link.lineno)
        link = link.orelse[0] if _is_elif(link.orelse) else None  # type: ignore[assignment]


def _open_files(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    """`open(x).read()`: nobody can close the file."""
    match node:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Call(func=func), attr="read" | "write" | "readlines" | "readline"
            )
        ) if file.dotted(func) in ("builtins.open", "io.open", "codecs.open"):
            pass
        case ast.Call(func=outer, args=[ast.Call(func=func), *_]) if file.dotted(func) in (
            "builtins.open",
            "io.open",
            "codecs.open",
        ) and file.dotted(outer) in ("json.load", "yaml.safe_load", "pickle.load", "csv.reader"):
            pass
        case _:
            return
    yield file.finding(
        node,
        "file-not-closed",
        "low",
        "the file is open until the garbage collector comes (data may stay unwritten); "
        "use `with open(...)`",
    )


def slip_findings(file: PythonFile) -> Iterator[Finding]:
    """Mistakes that run silently."""
    for node in file.nodes:
        yield from _changed_while_iterated(file, node)
        yield from _same_branches(file, node)
        yield from _repeated_conditions(file, node)
        if not file.in_tests:
            yield from _swallowed(file, node)
            yield from _open_files(file, node)
    yield from _unreachable(file)
    yield from _lost_coroutines(file)
