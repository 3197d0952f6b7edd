"""The tests that can be derived from Python files, and the functions for which none can."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sashizu_offline.checks.tree import FUNCTIONS, Function, PythonFile
from sashizu_offline.derive.behaviour import constants, raises
from sashizu_offline.derive.examples import examples
from sashizu_offline.derive.expectations import Expectation, Maker
from sashizu_offline.derive.machine import Links, Machine, Raised
from sashizu_offline.derive.mutants import mutants
from sashizu_offline.derive.places import Importer, Module, declared_packages
from sashizu_offline.derive.scopes import Meter, definitions
from sashizu_offline.derive.values import NotEvaluable
from sashizu_offline.derive.written import test_body
from sashizu_offline.languages import is_test_path
from sashizu_offline.sources import Sources

__all__ = ["Derived", "TestCase", "Untested", "derive_tests"]

MOST_STEPS = 5_000_000
"""Steps of the interpreter for one analysis: some seconds."""

MOST_CASES = 5
"""How many tests are written for one function."""


@dataclass(frozen=True, slots=True)
class TestCase:
    """A test of one function: `lines` are the body, which begins with its import.

    `kind` says where the expectation comes from: `example`, `constant` or `raises`. `caught` of
    `tried` changes of the function make the test fail.
    """

    __test__ = False

    path: str
    line: int
    root: str
    function: str
    kind: str
    lines: tuple[str, ...]
    caught: int
    tried: int

    def as_row(self) -> list[object]:
        head = [self.path, self.line, self.root, self.function, self.kind]
        return [*head, list(self.lines), self.caught, self.tried]

    @classmethod
    def of_row(cls, row: list[object]) -> TestCase:
        path, line, root, function, kind, lines, caught, tried = row
        assert isinstance(lines, list)
        body = tuple(str(text) for text in lines)
        numbers = (int(str(line)), int(str(caught)), int(str(tried)))
        names = (str(root), str(function), str(kind))
        return cls(str(path), numbers[0], *names, body, numbers[1], numbers[2])


@dataclass(frozen=True, slots=True, order=True)
class Untested:
    """A public function for which no test could be derived, and why."""

    path: str
    line: int
    function: str
    reason: str


@dataclass
class Derived:
    """What could be derived, and what not. `partly` are functions that have tests, but not all."""

    cases: list[TestCase] = field(default_factory=list)
    untested: list[Untested] = field(default_factory=list)
    partly: list[Untested] = field(default_factory=list)


def _functions(file: PythonFile) -> Iterator[tuple[str, Function, bool]]:
    """The public functions of a module and the public methods of its public classes.

    The third value says whether there is one only under a condition.
    """
    for node, conditional in _defined(file.tree.body, conditional=False):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("_"):
                    yield name, node, conditional
            case ast.ClassDef(name=owner, body=body) if not owner.startswith("_"):
                methods = [item for item in body if isinstance(item, FUNCTIONS)]
                for method in methods:
                    if not method.name.startswith("_"):
                        yield f"{owner}.{method.name}", method, conditional
            case _:
                pass


def _defined(body: Sequence[ast.stmt], *, conditional: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """The functions and classes of a block and of the blocks in it, in the order of the source."""
    for node in body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node, conditional
            continue
        inner: list[ast.stmt] = []
        for block in ast.iter_child_nodes(node):
            if isinstance(block, ast.stmt):
                inner.append(block)
            elif isinstance(block, ast.ExceptHandler | ast.match_case):
                inner += block.body
        yield from _defined(inner, conditional=True)


def _reason_against(name: str, node: ast.AST) -> str:
    """Why a function can not be followed at all; empty when it may be."""
    if "." in name:
        return "a method: it needs an object"
    if isinstance(node, ast.AsyncFunctionDef):
        return "async"
    assert isinstance(node, ast.FunctionDef)
    if node.decorator_list:
        return "decorated"
    return ""


def _score(make: Maker, node: ast.FunctionDef, found: Expectation) -> tuple[int, int]:
    """How many mutants of the function the expectation notices, of how many."""
    caught = tried = 0
    for mutant in mutants(node):
        tried += 1
        try:
            held = found.holds(make({node.name: mutant}))
        except NotEvaluable:
            tried -= 1  # whether it is noticed can not be told
            continue
        except Raised:
            held = False
        caught += not held
    return caught, tried


def _cases(
    file: PythonFile, module: Module, make: Maker, node: ast.FunctionDef, derived: Derived
) -> str:
    """Add the tests of one function; returns why there are none."""
    found: list[Expectation] = []
    reasons: list[str] = []
    for source in (examples, raises, constants):
        try:
            outcome = source(make, node)
        except NotEvaluable as error:
            reasons.append(f"it can not be followed: {error}")
            continue
        found += outcome.expectations
        if outcome.problem:
            reasons.append(outcome.problem)
    written: list[TestCase] = []
    unnoticed = 0
    for expectation in found[:MOST_CASES]:
        try:
            case = _case(file, module, make, node, expectation)
        except NotEvaluable as error:
            reasons.append(str(error))
            continue
        if case.caught:
            written.append(case)
        else:
            unnoticed += 1
    if not written:
        reasons += ["no change of the function would be noticed"] if unnoticed else []
        return reasons[0] if reasons else "no example, no constant, no checked argument"
    derived.cases += written
    if left := [*_left(len(found), unnoticed), *reasons]:
        derived.partly.append(Untested(file.path, node.lineno, node.name, "; ".join(left)))
    return ""


def _case(
    file: PythonFile, module: Module, make: Maker, node: ast.FunctionDef, found: Expectation
) -> TestCase:
    """The test of an expectation. Raises `NotEvaluable` where it can not be written."""
    lines = test_body(module.name, definitions(file.tree), found)
    score = _score(make, node, found)
    return TestCase(file.path, found.line, module.root, node.name, found.kind, lines, *score)


def _left(found: int, unnoticed: int) -> Iterator[str]:
    """Why expectations of a function that has tests have none."""
    if found > MOST_CASES:
        yield (
            f"{found - MOST_CASES} of {found} expectations are beyond the {MOST_CASES} tests that "
            "one function gets"
        )
    if unnoticed:
        yield f"{unnoticed} of {found} expectations would notice no change of it"


def _maker(tree: ast.Module, links: Links, meter: Meter) -> Maker:
    return lambda replaced: Machine(tree, links, replaced, meter)


def _no_tick() -> None:
    """Nobody can cancel."""


def derive_tests(
    files: Mapping[str, PythonFile], sources: Sources, tick: Callable[[], None] = _no_tick
) -> Derived:
    """Derive what can be derived, in the order of paths and lines.

    All files share `MOST_STEPS` steps of the interpreter, so that no file can keep it busy for
    long. `tick` is called between files; what it raises ends the work.
    """
    meter = Meter(stock=MOST_STEPS)
    derived = Derived()
    importer = Importer(files, declared_packages(sources.texts))
    mentioned = _mentioned_in_tests(files)
    for path in sorted(files):
        file = files[path]
        if file.in_tests or path.endswith((".pyi", "setup.py", "conf.py")):
            continue
        problem = importer.problem(path)

        make = _maker(file.tree, importer.links(path), meter)
        tick()
        for name, node, conditional in _functions(file):
            reason = problem or _reason_against(name, node)
            reason = reason or ("defined under a condition" if conditional else "")
            if not reason and isinstance(node, ast.FunctionDef):
                reason = _cases(file, importer.modules[path], make, node, derived)
            if reason and name.rpartition(".")[2] not in mentioned:
                derived.untested.append(Untested(path, node.lineno, name, reason))
    return derived


def _mentioned_in_tests(files: Mapping[str, PythonFile]) -> set[str]:
    """Names that test files use: functions of these names are taken as tested."""
    found: set[str] = set()
    for path, file in files.items():
        if is_test_path(path):
            for node in file.nodes:
                match node:
                    case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                        found.add(name)
                    case _:
                        pass
    return found
