"""The written file says exactly what was derived, whatever the code and its names look like."""

import ast
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.derive.cases import Derived, TestCase, derive_tests
from sashizu_offline.derive.mutants import mutants
from sashizu_offline.derive.testfile import test_file as file_of
from sashizu_offline.sources import Sources

TARGET = ".sashizu/runs/r/a/test_derived.py"


def derived(project: Mapping[str, str]) -> Derived:
    sources = Sources()
    for path, text in project.items():
        sources.add(path, text.encode())
    return derive_tests(
        {path: PythonFile.parse(path, text) for path, text in project.items()}, sources
    )


def pytest_says(
    folder: Path, project: Mapping[str, str], cases: list[TestCase] | None = None
) -> tuple[int, str]:
    """Lay a project and its derived tests out, and run pytest: its exit code and last line."""
    if cases is None:
        cases = derived(project).cases
    for path, text in project.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / TARGET).parent.mkdir(parents=True)
    (folder / TARGET).write_text(file_of(TARGET, cases, "made"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TARGET]
    command += ["-c", "/dev/null", "--rootdir", str(folder), "-W", "error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip().rpartition("\n")[2].partition(" in ")[0]


EXAMPLES = [
    ("f(1) == 2", "True"),
    ("f(1) != 3", "True"),
    ("f(1) < 3", "True"),
    ("1 < f(1) < 3", "True"),
    ("f(1) - 1 == 1 == f(0)", "True"),
    ("f(1) in (1, 2)", "True"),
    ("f(1) is None", "False"),
    ("not f(1)", "False"),
    ("0 or f(1)", "2"),
    ("f(1) and 7", "7"),
    ("f(-1) or 5", "5"),
    ("f(1) if True else 9", "2"),
    ("f(1) == 2 or 5", "True"),
    ("f(1), f(2)", "(2, 3)"),
    ("(lambda: f(1))()", "2"),
    ("(y := f(1))", "2"),
    ("[f(x) for x in (1, 2) if f(x)]", "[2, 3]"),
    ("-f(1) ** 2", "-4"),
    ("f(1) | 4 & f(2)", "2"),
    ("f'{f(1):03d}'", "'002'"),
]


def with_examples(*examples: tuple[str, str]) -> str:
    lines = [f"    >>> {check}\n    {value}\n" for check, value in examples]
    return f'def f(a):\n    """F.\n\n{"".join(lines)}    """\n    return a + 1\n'


def test_examples_pass_whatever_operator_stands_outermost(tmp_path: Path) -> None:
    project = {f"m{number}.py": with_examples(example) for number, example in enumerate(EXAMPLES)}
    assert pytest_says(tmp_path, project) == (0, f"{len(EXAMPLES)} passed")


LEAVES = st.sampled_from(["f(0)", "f(1)", "f(-1)", "f(2)", "0", "1", "2", "True", "'a'", "1.0"])
OPERATORS = ["+", "-", "*", "==", "!=", "<", ">=", "and", "or", "in", "is not", "is", "|", "%"]


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operator = st.sampled_from(OPERATORS)
    return (
        st.tuples(inner, operator, inner).map(" ".join)
        | st.tuples(inner, operator, inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda text: f"not {text}")
        | inner.map(lambda text: f"-({text})")
        | st.tuples(inner, inner, inner).map(lambda p: f"{p[0]} if {p[1]} else {p[2]}")
        | st.tuples(inner, inner).map(lambda parts: f"[{', '.join(parts)}]")
        | st.tuples(inner, inner).map(", ".join).map(lambda text: f"({text})")
        | inner.map(lambda text: f"(lambda x: {text})(3)")
    )


EXPRESSIONS = st.recursive(LEAVES, _larger, max_leaves=5)


def _module(name: str, tree: ast.Module) -> ModuleType:
    made = ModuleType(name)
    exec(compile(tree, name, "exec"), made.__dict__)
    return made


def _fails(test: Callable[[], None], name: str, tree: ast.Module) -> bool:
    sys.modules[name] = _module(name, tree)
    try:
        test()
    except (AssertionError, TypeError, ValueError, ArithmeticError, LookupError):
        return True
    finally:
        del sys.modules[name]
    return False


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=150)
@given(EXPRESSIONS, st.sampled_from(["a + 1", "a == 1", "a * 1.0", "[a][0] or 2", "not a"]))
def test_the_written_test_passes_now_and_fails_on_the_changes_that_are_claimed(
    expression: str, result: str
) -> None:
    scope: dict[str, Any] = {}
    exec(f"def f(a):\n    return {result}\n", scope)
    try:
        value = eval(expression, scope)
    except (SyntaxError, AssertionError, TypeError, ValueError, ArithmeticError, LookupError):
        assume(False)
    text = with_examples((expression, repr(value))).replace("return a + 1", f"return {result}")
    tree = ast.parse(text)
    cases = derived({"derivable.py": text}).cases
    assume(cases)
    (case,) = cases
    written: dict[str, Any] = {"__file__": "/w/" + TARGET}
    path = list(sys.path)
    exec(compile(file_of(TARGET, cases, "made"), TARGET, "exec"), written)
    sys.path[:] = path
    (test,) = [made for name, made in written.items() if name.startswith("test_")]
    assert not _fails(test, "derivable", tree), file_of(TARGET, cases, "made")
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    changed = [ast.Module([mutant], []) for mutant in mutants(function)]
    if case.tried == len(changed):
        caught = sum(_fails(test, "derivable", change) for change in changed)
        assert caught == case.caught, file_of(TARGET, cases, "made")


def function(name: str, example: str = "{}(1)", value: str = "2", body: str = "a + 1") -> str:
    said = f"    >>> {example.format(name)}\n    {value}\n"
    return f'def {name}(a):\n    """K.\n\n{said}    """\n    return {body}\n\n\n'


def test_modules_whose_names_are_keywords_leave_the_other_tests_alone(tmp_path: Path) -> None:
    unimportable = ["class.py", "async.py", "None.py", "lambda/__init__.py", "lambda/x.py"]
    project = {path: function("k") for path in [*unimportable, "match.py", "good.py"]}
    assert pytest_says(tmp_path, project) == (0, "2 passed")
    reasons = {gap.path: gap.reason for gap in derived(project).untested}
    assert reasons == dict.fromkeys(unimportable, "its name can not be imported")


SHADOWING = ["sum", "open", "max", "format", "print", "ValueError", "target"]


@pytest.mark.parametrize(("body", "said"), [("a + 1", "passed"), ("a + 2", "failed")])
def test_functions_that_are_named_like_builtins_are_the_ones_that_are_tested(
    body: str, said: str, tmp_path: Path
) -> None:
    cases = derived({f"m_{name}.py": function(name) for name in SHADOWING}).cases
    project = {f"m_{name}.py": function(name, body=body) for name in SHADOWING}
    assert pytest_says(tmp_path, project, cases)[1] == f"{len(SHADOWING)} {said}"


def test_other_names_of_the_module_beside_the_target_are_its_own(tmp_path: Path) -> None:
    text = (
        "LIMIT = 3\n\n\nclass TimeoutError(ValueError):\n    pass\n\n\n"
        + function("abs", "{}(-1)", "-10", body="a * 10")
        + function("total", "{}(abs(-1))", "-9")
        + function("again", "{}(LIMIT)", "4")
        + "def late(a: int):\n    if a > LIMIT:\n        raise TimeoutError('late')\n    return a\n"
        + "\n\ndef moved(a):\n"
        '    """M.\n\n    >>> LIMIT += 1\n    >>> moved(LIMIT)\n    5\n    """\n    return a + 1\n'
    )
    functions = {case.function for case in derived({"m.py": text}).cases}
    assert functions == {"abs", "total", "again", "late", "moved"}
    assert pytest_says(tmp_path, {"m.py": text})[0] == 0


@pytest.mark.parametrize("path", ["pytest.py", "pluggy.py"])
def test_modules_that_pytest_would_take_for_its_own_are_not_tested(
    path: str,
) -> None:
    (gap,) = derived({path: function("k")}).untested
    assert gap.reason == "its name can not be imported"


def test_a_function_named_pytest_is_listed_and_spoils_no_other_test(tmp_path: Path) -> None:
    project = {"m.py": function("pytest") + function("good")}
    assert pytest_says(tmp_path, project) == (0, "1 passed")
    (gap,) = derived(project).untested
    assert gap.function == "pytest"
    assert "it uses the name 'pytest'" in gap.reason


def test_names_that_may_come_from_anywhere_are_not_taken_for_builtins() -> None:
    project = {"m.py": "from other import *\n\n\n" + function("k", "{}(sum([1]))"), "other.py": ""}
    (gap,) = derived(project).untested
    assert "import *" in gap.reason


def test_folders_with_hostile_names_write_no_code_into_the_file(tmp_path: Path) -> None:
    project = {"a\nimport sys; sys.exit(3)\n#/m.py": function("k")}
    assert pytest_says(tmp_path, project) == (0, "1 passed")


VALUES = [r"'\n'", r"'a\tb'", r"'\x1b'", r"'\ud83d'", r"'a\u202eb'", "'\"'", r"b'\x00'"]


def test_values_with_control_characters_are_written_as_they_are(tmp_path: Path) -> None:
    project = {
        f"m{number}.py": function("k", value=value.replace("\\", "\\\\"), body=f"{value} * a")
        for number, value in enumerate(VALUES)
    }
    assert pytest_says(tmp_path, project) == (0, f"{len(VALUES)} passed")
