"""Whatever of a module gets no test is listed, with the reason."""

import json

import pytest
from sashizu_core.prompt import Brief
from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.criteria import judge
from sashizu_offline.derive.cases import MOST_CASES, Derived, derive_tests
from sashizu_offline.jobs import JOBS
from sashizu_offline.report import Report, artifact_text
from sashizu_offline.results import Result, as_lines, read_lines
from sashizu_offline.sources import Sources
from sashizu_offline.survey import Survey

CONDITIONAL = """\
import os

if os.environ.get("X"):
    def one(a):
        return a
else:
    def one(a):
        return a + 1

    class Box:
        def open(self):
            return 1

try:
    import fast
except ImportError:
    def two(a):
        return a
else:
    async def three(a):
        return a

for _ in ():
    def four(a):
        return a

with open(os.devnull):
    def five(a):
        return a

match 1:
    case 1:
        def six(a):
            return a

while False:
    def seven(a):
        return a

if True:
    def _private(a):
        return a
"""


def derived(text: str) -> Derived:
    sources = Sources()
    sources.add("m.py", text.encode())
    return derive_tests({"m.py": PythonFile.parse("m.py", text)}, sources)


def with_examples(*examples: tuple[str, str]) -> str:
    lines = "".join(f"    >>> {check}\n    {value}\n" for check, value in examples)
    return f'def f(a):\n    """F.\n\n{lines}    """\n    return a + 1\n'


def test_functions_that_are_defined_under_a_condition_are_listed() -> None:
    gaps = derived(CONDITIONAL).untested
    names = [gap.function for gap in gaps]
    expected = ["one", "one", "Box.open", "two", "three", "four", "five", "six", "seven"]
    assert names == expected
    assert len({gap.line for gap in gaps}) == len(gaps)
    assert all(gap.reason for gap in gaps)


def test_a_function_under_a_condition_is_untested_for_that_reason() -> None:
    (gap,) = derived('if 1 < 2:\n    def f(a):\n        return "x"\n').untested
    assert gap.reason == "defined under a condition"


def test_examples_beyond_the_most_of_one_function_are_counted() -> None:
    examples = [(f"f({number})", str(number + 1)) for number in range(17)]
    found = derived(with_examples(*examples))
    assert len(found.cases) == MOST_CASES
    assert found.untested == []
    (partly,) = found.partly
    assert (partly.function, partly.line) == ("f", 1)
    assert f"12 of 17 expectations are beyond the {MOST_CASES}" in partly.reason


def test_an_example_that_stops_the_others_is_told() -> None:
    found = derived(with_examples(("f(1)", "2"), ("f(print(1))", "2"), ("f(3)", "4")))
    assert len(found.cases) == 1
    (partly,) = found.partly
    assert "line 6" in partly.reason
    assert "nor those after it" in partly.reason


def test_expectations_that_no_change_breaks_are_told() -> None:
    found = derived(
        with_examples(("f(1)", "2"), ("f(1) or True and f(1)", "2"), ("[] and f(1)", "[]"))
    )
    (partly,) = found.partly
    assert "1 of 3 expectations would notice no change" in partly.reason


def test_a_function_that_is_tested_whole_is_not_listed() -> None:
    found = derived(with_examples(("f(1)", "2"), ("f(2)", "3")))
    assert (found.untested, found.partly) == ([], [])


def result_of(found: Derived) -> Result:
    result = Result.of(["tests"], Sources(), Survey(), found)
    back = read_lines(as_lines(result, 100_000))
    assert back is not None
    return back


def test_the_report_lists_what_is_partly_tested() -> None:
    examples = [(f"f({number})", str(number + 1)) for number in range(17)]
    result = result_of(derived(with_examples(*examples)))
    report = Report(Brief(agent="a", role="r", goal="g"), JOBS["tests"], result)
    text = artifact_text(report, "r.md", 10_000)
    assert "## Partly tested" in text
    assert "12 of 17" in text
    (entry,) = json.loads(artifact_text(report, "r.json", 10_000))["partly_tested"]
    assert (entry["function"], entry["line"]) == ("f", 1)


@pytest.mark.parametrize("limit", [0, 1, 30])
def test_a_verdict_on_what_is_listed_counts_the_report(limit: int) -> None:
    text = "".join(f"def f{number}(a):\n    return a\n\n\n" for number in range(30))
    examples = [(f"f({number})", str(number + 1)) for number in range(7)]
    result = result_of(derived(text + with_examples(*examples)))
    report = Report(Brief(agent="a", role="r", goal="g"), JOBS["tests"], result)
    whole = artifact_text(report, "r.md", 10**6)
    report.texts = [
        "# Nothing",
        whole.replace("f29:", "", 1) if limit == 1 else whole * bool(limit),
    ]
    said, evidence = judge("What stays untested is listed", report, ["r.md"])
    if limit == 30:
        assert said == "met"
        assert "30 functions" in evidence
        assert "1 partly tested" in evidence
    else:
        assert said == "not met"
        assert ("30 of 31" if limit else "0 of 31") in evidence


def test_a_json_report_lists_them_as_well() -> None:
    examples = [(f"f({number})", str(number + 1)) for number in range(7)]
    result = result_of(derived("def g(a):\n    return a\n\n\n" + with_examples(*examples)))
    report = Report(Brief(agent="a", role="r", goal="g"), JOBS["tests"], result)
    report.texts = [artifact_text(report, "r.json", 10_000)]
    assert judge("What stays untested is listed", report, ["r.json"])[0] == "met"


def test_an_answer_without_room_says_how_many_are_missing() -> None:
    examples = [(f"f({number})", str(number + 1)) for number in range(17)]
    result = Result.of(["tests"], Sources(), Survey(), derived(with_examples(*examples)))
    result.partly *= 2000
    result.partly = [
        type(gap)(f"p{number}.py", 1, "f", gap.reason) for number, gap in enumerate(result.partly)
    ]
    result.partly_count = len(result.partly)
    back = read_lines(as_lines(result, 4_000))
    assert back is not None
    assert len(back.partly) < back.partly_count == 2000
