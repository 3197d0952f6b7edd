"""What a stranger's request can reach: SQL, files, pages, redirects, other hosts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from sashizu_offline.checks.origin import origin_of
from sashizu_offline.checks.tree import PythonFile, keyword, literal
from sashizu_offline.findings import Finding, Severity

__all__ = ["web_findings"]

_SQL = re.compile(
    r"\b(select\b.+\bfrom|insert\s+into|update\b.+\bset|delete\s+from|drop\s+table"
    r"|create\s+table|alter\s+table|replace\s+into)\b",
    re.IGNORECASE | re.DOTALL,
)
_EXECUTES = frozenset({"execute", "executemany", "executescript", "raw", "read_sql", "text"})
_FILE_CALLS = frozenset(
    {"builtins.open", "io.open", "flask.send_file", "os.remove", "os.unlink", "shutil.rmtree"}
    | {"os.listdir", "shutil.copy", "shutil.move", "pathlib.Path"}
)
_FETCHES = frozenset(
    f"{module}.{verb}"
    for module in ("requests", "httpx")
    for verb in ("get", "post", "put", "delete", "head", "patch")
) | {"urllib.request.urlopen"}
_MARKUP = frozenset({"django.utils.safestring.mark_safe", "markupsafe.Markup", "flask.Markup"})
_REDIRECTS = frozenset(
    {"flask.redirect", "django.shortcuts.redirect", "django.http.HttpResponseRedirect"}
    | {"starlette.responses.RedirectResponse", "fastapi.responses.RedirectResponse"}
)


def _built_text(file: PythonFile, node: ast.expr, depth: int = 0) -> ast.expr | None:
    """The expression that builds a text from parts; follows a few local names."""
    if depth > 3:
        return None
    if isinstance(node, ast.Name):
        scope: ast.AST = file.function_of(node) or file.tree
        assigned = [
            child.value
            for child in ast.walk(scope)
            if isinstance(child, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == node.id for t in child.targets)
        ]
        return _built_text(file, assigned[0], depth + 1) if len(assigned) == 1 else None
    match node:
        case ast.JoinedStr() | ast.BinOp(op=ast.Mod() | ast.Add()):
            return node
        case ast.Call(func=ast.Attribute(attr="format", value=ast.expr())):
            return node
        case ast.Call(args=[ast.expr() as inner, *_]) if file.dotted(node.func).endswith(".text"):
            return _built_text(file, inner, depth + 1)
        case _:
            return None


def _constant_text(node: ast.expr) -> str:
    return " ".join(
        child.value
        for child in ast.walk(node)
        if isinstance(child, ast.Constant) and isinstance(child.value, str)
    )


def _sql(file: PythonFile, call: ast.Call) -> Iterator[Finding]:
    match call.func:
        case ast.Attribute(attr=attr):
            pass
        case ast.Name(id=attr):
            pass
        case _:
            return
    if attr not in _EXECUTES or not call.args:
        return
    text = _built_text(file, call.args[0])
    if text is None or not _SQL.search(_constant_text(text)[:2_000]):
        return
    origin = origin_of(file, text)
    if origin in ("fixed", "internal"):
        return
    severity: Severity = "high" if origin in ("request", "outside") else "medium"
    yield file.finding(
        call,
        "sql-injection",
        severity,
        f"a value is written into the text of the SQL statement given to {attr}(); pass it as a "
        "parameter (`?`, `%s`), and check names of tables and columns against a list",
    )


def _request_sinks(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if not call.args or dotted not in _FILE_CALLS | _FETCHES | _REDIRECTS:
        return
    if origin_of(file, call.args[0]) != "request":
        return
    if dotted in _FILE_CALLS:
        rule, why = (
            "path-from-request",
            (
                "a client chooses the path, `../` included; use secure_filename or check that the "
                "resolved path stays in its folder"
            ),
        )
    elif dotted in _FETCHES:
        rule, why = (
            "url-from-request",
            (
                "a client chooses what the server connects to, internal hosts included; check the "
                "host against a list"
            ),
        )
    else:
        rule, why = (
            "open-redirect",
            ("a client chooses where users are sent; allow only paths of this site"),
        )
    yield file.finding(call, rule, "high", f"{dotted}: {why}")


def _from_outside(file: PythonFile, call: ast.Call) -> bool:
    return bool(call.args) and origin_of(file, call.args[0]) in ("request", "parameter", "outside")


def _templates(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted == "flask.render_template_string" and _from_outside(file, call):
        yield file.finding(
            call,
            "template-injection",
            "high",
            "the template itself is built from a value, which can run code in the server; "
            "pass the value as a variable of a fixed template",
        )
    elif dotted in _MARKUP and _from_outside(file, call):
        yield file.finding(
            call,
            "unescaped-html",
            "medium",
            f"{dotted.rpartition('.')[2]}() marks a value as HTML without escaping it; "
            "use format_html or escape it first",
        )
    elif dotted in ("jinja2.Environment", "jinja2.environment.Environment"):
        given = keyword(call, "autoescape")
        absent = given is None and not any(word.arg is None for word in call.keywords)
        if literal(given) is False or (absent and ".html" in file.text):
            yield file.finding(
                call,
                "autoescape-off",
                "medium",
                "this jinja2 environment does not escape HTML; pass autoescape=select_autoescape()",
            )


def _debug_server(file: PythonFile, call: ast.Call) -> Iterator[Finding]:
    if (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "run"
        and literal(keyword(call, "debug")) is True
        and any(name.partition(".")[0] == "flask" for name in file.imports.values())
    ):
        severity: Severity = "low" if call.lineno in file.main_guard_lines else "high"
        yield file.finding(
            call,
            "debug-server",
            severity,
            "debug=True serves a console that runs any code; take it from the environment, "
            "off by default",
        )


def _cors(file: PythonFile, call: ast.Call) -> Iterator[Finding]:
    origins = keyword(call, "allow_origins")
    if (
        isinstance(origins, ast.List)
        and any(literal(item) == "*" for item in origins.elts)
        and literal(keyword(call, "allow_credentials")) is True
    ):
        yield file.finding(
            call,
            "cors-any-origin",
            "high",
            "every site may send requests with the user's credentials; list the allowed origins",
        )


def web_findings(file: PythonFile) -> Iterator[Finding]:
    """Where the value of a client or caller reaches something that obeys it."""
    if file.in_tests:
        return
    for call, dotted in file.calls:
        yield from _sql(file, call)
        yield from _debug_server(file, call)
        yield from _cors(file, call)
        if dotted:
            yield from _request_sinks(file, call, dotted)
            yield from _templates(file, call, dotted)
