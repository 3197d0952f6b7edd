"""Derived tests pass on the code they were derived from, and fail when it is changed."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.derive.cases import Derived, TestCase, derive_tests
from sashizu_offline.derive.literals import literal_text
from sashizu_offline.derive.machine import Machine, Raised
from sashizu_offline.derive.mutants import mutants
from sashizu_offline.derive.testfile import test_file as file_of
from sashizu_offline.derive.values import NotEvaluable
from sashizu_offline.sources import Sources

PROJECT = {
    "src/shop/__init__.py": "",
    "src/shop/errors.py": '''\
class ShopError(ValueError):
    """What the shop refuses."""


class TooMany(ShopError):
    exit_code = 2
''',
    "src/shop/prices.py": '''\
"""Prices."""

import re

from shop.errors import TooMany

RATES = {"de": 19, "fr": 20}
LIMIT = 100


def gross(net, country="de"):
    """The price with tax.

    >>> gross(100)
    119.0
    >>> gross(100, "fr")
    120.0
    >>> net = 10
    >>> gross(net)
    11.9
    """
    return round(net * (100 + RATES[country]) / 100, 2)


def version():
    return "1.4"


def order(count: int, name: str):
    if count <= 0:
        raise ValueError(f"count must be positive, not {count}")
    if count > LIMIT:
        raise TooMany("too many")
    if not name:
        raise KeyError(name)
    return [name] * count


def words(text):
    """The words of a text.

    >>> words("b a b")
    {'b': 2, 'a': 1}
    """
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def broken(value):
    """An example that says something else.

    >>> broken(2)
    5
    """
    return value * 2


def matched(text):
    """Needs a module that is not followed.

    >>> matched("a1")
    True
    """
    return bool(re.search("[0-9]", text))


class Cart:
    def total(self):
        return 0


async def fetch(url):
    return url
''',
    "tools/report.py": """\
import sys

ARGUMENTS = sys.argv[1]


def title():
    return "report"
""",
    "tests/test_old.py": "from shop.prices import fetch\n",
}


def derived() -> Derived:
    sources = Sources()
    for path, text in PROJECT.items():
        sources.add(path, text.encode())
    files = {path: PythonFile.parse(path, text) for path, text in PROJECT.items()}
    return derive_tests(files, sources)


def laid_out(
    folder: Path, cases: list[TestCase], change: tuple[str, str, str] | None = None
) -> int:
    """Write the project and its derived tests, changed in one place; pytest's exit code."""
    project = dict(PROJECT)
    if change is not None:
        path, before, after = change
        assert before in project[path]
        project[path] = project[path].replace(before, after, 1)
    for path, text in project.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    target = ".sashizu/runs/r/a/test_derived.py"
    (folder / target).parent.mkdir(parents=True, exist_ok=True)
    (folder / target).write_text(file_of(target, cases, "made"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", target]
    isolated = ["-c", "/dev/null", "--rootdir", str(folder)]
    done = subprocess.run([*command, *isolated], cwd=folder, capture_output=True, check=False)
    return done.returncode


def of(function: str) -> list[TestCase]:
    return [case for case in derived().cases if case.function == function]


def test_examples_constants_and_refusals_become_tests() -> None:
    kinds = {(case.function, case.kind) for case in derived().cases}
    assert kinds == {
        ("gross", "example"),
        ("version", "constant"),
        ("order", "raises"),
        ("words", "example"),
    }
    assert len(of("gross")) == 3
    assert len(of("order")) == 3


def test_every_test_notices_a_change_of_its_target() -> None:
    assert all(0 < case.caught <= case.tried for case in derived().cases)


def test_what_stays_untested_is_listed_with_its_reason() -> None:
    reasons = {gap.function: gap.reason for gap in derived().untested}
    assert reasons.keys() == {"broken", "matched", "Cart.total", "title"}
    assert "does not hold" in reasons["broken"]
    assert "'re'" in reasons["matched"]
    assert "needs an object" in reasons["Cart.total"]
    assert "sys.argv" in reasons["title"]


def test_the_derived_tests_pass_as_they_are(tmp_path: Path) -> None:
    assert laid_out(tmp_path, derived().cases) == 0


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        ("gross", "(100 + RATES", "(101 + RATES"),
        ("gross", "/ 100, 2)", "/ 100, 2) + 1"),
        ("version", '"1.4"', '"1.5"'),
        ("order", "count <= 0", "count < -5"),
        ("order", "count > LIMIT", "count > 10 * LIMIT + 10 ** 6"),
        ("order", "raise KeyError(name)", "pass"),
        ("words", "counts.get(word, 0) + 1", "counts.get(word, 0) + 2"),
        ("words", "return counts", "return None"),
    ],
)
def test_the_derived_tests_fail_on_a_change(
    function: str, before: str, after: str, tmp_path: Path
) -> None:
    assert laid_out(tmp_path, of(function), ("src/shop/prices.py", before, after)) == 1


def machine(text: str) -> Machine:
    return Machine(PythonFile.parse("m.py", text).tree)


@pytest.mark.parametrize(
    "body",
    [
        "return ().__class__.__bases__",
        "return '{0.__class__}'.format(1)",
        "return '{:99999999}'.format(1)",
        "return '%99999999d' % 1",
        "return 'x' * 10 ** 9",
        "return 2 ** 10 ** 9",
        "return 1 << 10 ** 9",
        "return list(range(10 ** 18))",
        "return 'a'.center(10 ** 9)",
        "return ('ab' * 9000).replace('', 'x' * 9000)",
        "return [x for x in {'a', 'b'}]",
        "return ''.join({'a', 'b'})",
        "return open('/etc/passwd').read()",
        "return __import__('os').getcwd()",
        "return eval('1')",
        "return getattr(1, 'real')",
        "return f()",
        "x = [1]\n    for y in x:\n        x.append(y)",
        "while True:\n        pass",
        "return (lambda g: g(g))(lambda g: g(g))",
        "return sorted([1, 2], key=print)",
        "return 'a'.encode('idna')",
        "return 257 is 257",
        "import os",
        "global z",
        "yield 1",
        "return max(iter(int, 1))",
    ],
)
def test_the_interpreter_refuses_what_it_can_not_follow(body: str) -> None:
    with pytest.raises(NotEvaluable):
        machine(f"def f():\n    {body}\n").call("f", {})


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("a, (b, c) = 1, [2, 3]\n    return a + b * c", 7),
        ("return {k: v for k, v in zip('ab', [1, 2]) if v > 1}", {"b": 2}),
        ("return sorted({'b', 'a'})", ["a", "b"]),
        ("t = 0\n    for i in 1, 2, 9:\n        if i > 2: break\n        t += i\n    return t", 3),
        ("try:\n        return {}['x']\n    except KeyError:\n        return 'none'", "none"),
        ("try:\n        1 / 0\n    finally:\n        return 5", 5),
        ("def g(n):\n        return 1 if n < 2 else n * g(n - 1)\n    return g(5)", 120),
        ("return f'{3.14159:.2f}|{\"x\"!r}|{7:03d}'", "3.14|'x'|007"),
        ("return [*range(3), *'ab'][1:4]", [1, 2, "a"]),
        ("return list(map(lambda x: x * 2, filter(None, [0, 1, 2])))", [2, 4]),
        ("return '%s is %d' % ('a', 3)", "a is 3"),
        ("return {'a': 1} == {'a': True}", True),
        ("return 1 < 2 < 3 != 4", True),
        ("return sum(x for x in (1, 2, 3)), any([]), all([])", (6, False, True)),
    ],
)
def test_the_interpreter_computes_what_python_computes(body: str, value: object) -> None:
    assert machine(f"def f():\n    {body}\n").call("f", {}) == value


def test_what_a_module_shares_is_never_changed() -> None:
    text = "SEEN = []\ndef f(x, y=[]):\n    SEEN.append(x)\n"
    with pytest.raises(NotEvaluable):
        machine(text).call("f", {"x": 1})


def test_raised_errors_carry_their_line() -> None:
    with pytest.raises(Raised) as caught:
        machine("def f(x):\n    if x:\n        raise ValueError('no')\n").call("f", {"x": 1})
    assert (caught.value.line, caught.value.explicit) == (3, True)
    assert str(caught.value.error) == "no"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=6,
)


@given(PLAIN)
def test_a_literal_reads_back_as_the_value(value: object) -> None:
    text = literal_text(value)
    if text is not None:
        assert eval(text) == value


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_arithmetic_agrees_with_python(a: int, b: int) -> None:
    body = "def f(a, b):\n    return (a + b) * (a - b) // (abs(b) + 1) % 7, a & b, a ^ b, -a < b\n"
    expected = ((a + b) * (a - b) // (abs(b) + 1) % 7, a & b, a ^ b, -a < b)
    assert machine(body).call("f", {"a": a, "b": b}) == expected


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        file = PythonFile.parse("m.py", text)
    except (SyntaxError, ValueError):
        return
    sources = Sources()
    sources.add("m.py", text.encode("utf-8", "surrogatepass"))
    assert derive_tests({"m.py": file}, sources).cases == []


def test_mutants_differ_and_leave_the_original_alone() -> None:
    import ast

    tree = ast.parse("def f(a):\n    if a > 1 and a < 9:\n        return a + 1\n    return 'x'\n")
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    before = ast.unparse(function)
    texts = [ast.unparse(mutant) for mutant in mutants(function)]
    assert ast.unparse(function) == before
    assert len(set(texts)) == len(texts) >= 6
    assert before not in texts


def test_hostile_functions_can_not_keep_the_interpreter_busy() -> None:
    slow = (
        "def f{0}(a: int):\n    while True:\n        a += 0\n    if a:\n        raise ValueError\n"
    )
    text = "\n".join(slow.format(number) for number in range(300))
    sources = Sources()
    sources.add("m.py", text.encode())
    derived = derive_tests({"m.py": PythonFile.parse("m.py", text)}, sources)
    assert len(derived.untested) + len({case.function for case in derived.cases}) == 300


def test_work_ends_when_it_is_cancelled() -> None:
    def cancelled() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        derive_tests({"m.py": PythonFile.parse("m.py", "")}, Sources(), cancelled)
