"""Data that becomes code: eval, shells, pickles, YAML objects, archives."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from sashizu_offline.checks.origin import Origin, origin_of
from sashizu_offline.checks.tree import PythonFile, keyword, literal
from sashizu_offline.findings import Finding, Severity

__all__ = ["execution_findings"]

_WHO: dict[Origin, str] = {
    "internal": "a value that is not fixed in the source",
    "parameter": "an argument of the function",
    "outside": "the command line, the environment or input",
    "request": "the request of a client",
}
_SEVERITY: dict[Origin, Severity] = {
    "internal": "low",
    "parameter": "medium",
    "outside": "medium",
    "request": "high",
}

_SHELL_PROGRAMS = frozenset(
    {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    | {"asyncio.create_subprocess_shell", "commands.getoutput", "popen2.popen2"}
)
_SUBPROCESS = frozenset(
    f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen")
)
_PICKLES = frozenset(
    f"{module}.{name}"
    for module in ("pickle", "cPickle", "_pickle", "dill", "cloudpickle")
    for name in ("load", "loads", "Unpickler")
) | {"jsonpickle.decode", "joblib.load", "pandas.read_pickle", "shelve.open"}
_UNSAFE_LOADERS = frozenset({"Loader", "UnsafeLoader", "CLoader", "CUnsafeLoader"})


def _first(call: ast.Call, name: str = "") -> ast.expr | None:
    if call.args:
        return call.args[0]
    return keyword(call, name) if name else None


def _evaluated(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted not in ("builtins.eval", "builtins.exec"):
        return
    source = _first(call)
    if source is None:
        return
    origin = origin_of(file, source)
    if origin == "fixed" or _is_own_source(file, source):
        return
    severity = _SEVERITY[origin] if origin != "internal" else "medium"
    yield file.finding(
        call,
        "eval-of-data",
        severity,
        f"{dotted.removeprefix('builtins.')}() runs {_WHO[origin]} as code; parse it instead "
        "(ast.literal_eval, json, a table of functions)",
    )


def _is_own_source(file: PythonFile, source: ast.expr) -> bool:
    """`exec(open("version.py").read())` and `exec(compile(...))` run files of the project."""
    text = ast.unparse(source)
    if file.path.endswith(("setup.py", "conf.py", "conftest.py")):
        return True
    return "compile(" in text and any(word in text for word in ("open(", "read_text", "parse("))


def _shell(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    with_shell = dotted in _SUBPROCESS and literal(keyword(call, "shell")) is True
    if not with_shell and dotted not in _SHELL_PROGRAMS:
        return
    command = _first(call, "args") or keyword(call, "cmd") or keyword(call, "command")
    if command is None:
        return
    origin = origin_of(file, command)
    if origin == "fixed":
        return
    severity: Severity = "high" if origin in ("request", "parameter") else "medium"
    yield file.finding(
        call,
        "shell-injection",
        severity,
        f"{dotted} hands {_WHO[origin]} to a shell, which obeys any `;` or `$()` in it; "
        "pass a list of arguments without a shell, or quote with shlex.quote",
    )


def _unpickled(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted == "torch.load" and literal(keyword(call, "weights_only")) is not True:
        known = True
    elif dotted == "numpy.load":
        known = literal(keyword(call, "allow_pickle")) is True
    else:
        known = dotted in _PICKLES
    data = _first(call)
    if not known or data is None or _round_trip(file, data):
        return
    origin = origin_of(file, data)
    received = any(word in ast.unparse(data) for word in (".recv(", ".content", ".get_data("))
    severity: Severity = "high" if origin == "request" or received else "medium"
    yield file.finding(
        call,
        "unsafe-pickle",
        severity,
        f"{dotted} runs code that the data chooses: whoever can write the data owns the process; "
        "use json, or verify a signature first",
    )


def _round_trip(file: PythonFile, data: ast.expr) -> bool:
    """A copy by `loads(dumps(x))`."""
    return isinstance(data, ast.Call) and file.dotted(data.func).endswith(".dumps")


def _yaml(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted in ("yaml.unsafe_load", "yaml.unsafe_load_all"):
        pass
    elif dotted in ("yaml.load", "yaml.load_all"):
        loader = keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is not None and ast.unparse(loader).split(".")[-1] not in _UNSAFE_LOADERS:
            return
    else:
        return
    yield file.finding(
        call,
        "unsafe-yaml",
        "high",
        f"{dotted} builds any Python object that the document names; use yaml.safe_load",
    )


def _archive(file: PythonFile, call: ast.Call) -> Iterator[Finding]:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("extractall", "extract"):
        return
    if keyword(call, "filter") is not None or not _is_tar(file, call.func.value):
        return
    if call.func.attr == "extractall" and keyword(call, "members") is not None:
        return
    yield file.finding(
        call,
        "tar-extract",
        "medium",
        f"{call.func.attr}() without filter= writes outside the folder on Python before 3.14 when "
        "a member is named `../x` or is a link; pass filter='data'",
    )


def _is_tar(file: PythonFile, node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return file.dotted(node.func) in ("tarfile.open", "tarfile.TarFile", "tarfile.TarFile.open")
    if not isinstance(node, ast.Name):
        return False
    scope: ast.AST = file.function_of(node) or file.tree
    for child in ast.walk(scope):
        match child:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as made):
                pass
            case ast.withitem(context_expr=ast.Call() as made, optional_vars=ast.Name(id=name)):
                pass
            case _:
                continue
        if name == node.id and _is_tar(file, made):
            return True
    return False


def _temporary(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted in ("tempfile.mktemp", "os.tempnam", "os.tmpnam"):
        yield file.finding(
            call,
            "temp-name",
            "medium",
            f"{dotted} only makes up a name: another user can create the file first; "
            "use tempfile.mkstemp or NamedTemporaryFile",
        )
    elif dotted in ("os.chmod", "os.fchmod", "os.mkdir", "os.makedirs"):
        mode = literal(call.args[1]) if len(call.args) > 1 else literal(keyword(call, "mode"))
        if isinstance(mode, int) and mode & 0o002 and not mode & 0o1000 and "chmod" in dotted:
            yield file.finding(
                call,
                "world-writable",
                "medium",
                f"{dotted} with mode {mode:#o} lets every user of the machine change the file; "
                "use 0o644 or less",
            )


def execution_findings(file: PythonFile) -> Iterator[Finding]:
    """Where data becomes code or leaves its folder."""
    if file.in_tests:
        return
    for call, dotted in file.calls:
        if dotted:
            yield from _evaluated(file, call, dotted)
            yield from _shell(file, call, dotted)
            yield from _unpickled(file, call, dotted)
            yield from _yaml(file, call, dotted)
            yield from _temporary(file, call, dotted)
        yield from _archive(file, call)
