"""Guards that do not guard: asserts as access checks, secrets in logs, client-chosen limits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.findings import Finding

__all__ = ["guard_findings"]

_RIGHTS = re.compile(
    r"\b(is_admin|is_authenticated|is_superuser|is_staff|has_perm|has_permission|has_role|is_owner"
    r"|authorized|is_authorized|check_permission|can_(?:edit|delete|write|read|access)|logged_in)\b"
)
_SECRET_NAMES = frozenset(
    {"password", "passwd", "secret", "api_key", "apikey", "access_token", "auth_token"}
    | {"private_key", "secret_key", "client_secret", "refresh_token"}
)
_LOG_METHODS = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log"})


def _assert_guard(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    if isinstance(node, ast.Assert) and _RIGHTS.search(ast.unparse(node.test)):
        yield file.finding(
            node,
            "assert-as-guard",
            "high",
            "an assert is gone under `python -O`, and with it this check of rights; "
            "raise an error instead",
        )


def _is_logger(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name.lower().strip("_") in ("logger", "log", "logging")


def _logged(node: ast.AST) -> Iterator[str]:
    """Names whose values end up in the text; what is measured or masked does not count."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.JoinedStr(values=values):
            for value in values:
                if isinstance(value, ast.FormattedValue):
                    yield from _logged(value.value)
        case ast.BinOp(left=left, right=right):
            yield from _logged(left)
            yield from _logged(right)
        case ast.Tuple(elts=elts):
            for item in elts:
                yield from _logged(item)
        case ast.Call(func=ast.Attribute(attr="format"), args=arguments):
            for argument in arguments:
                yield from _logged(argument)
        case _:
            return


def _secret_in_log(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=attr), args=arguments) if (
            attr in _LOG_METHODS and _is_logger(owner)
        ):
            names = [name for argument in arguments for name in _logged(argument)]
        case _:
            return
    shown = sorted({name for name in names if name.lower() in _SECRET_NAMES})
    if shown:
        yield file.finding(
            node,
            "secret-in-log",
            "medium",
            f"the value of {shown[0]!r} is written to the log, where more people can read it; "
            "leave it out",
        )


def guard_findings(file: PythonFile) -> Iterator[Finding]:
    """Checks of rights and secrecy that fail in production."""
    if file.in_tests:
        return
    for node in file.nodes:
        yield from _assert_guard(file, node)
        yield from _secret_in_log(file, node)
