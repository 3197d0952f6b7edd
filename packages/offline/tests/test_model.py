"""The offline model at work: with real tools over real files, and at its limits."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.errors import ModelError
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import readable
from sashizu_core.prompt import ArtifactTarget, Brief, first_messages
from sashizu_core.protocols import ToolContext
from sashizu_core.turn.answer import read_answer
from sashizu_core.types import Completion, Message, ModelRequest, PreviousCall, ToolSchema
from sashizu_core.workspace import Workspace
from sashizu_offline.analyze import AnalyzeTool
from sashizu_offline.jobs import choose_job
from sashizu_offline.model import OfflineModel
from sashizu_offline.report import MARK
from sashizu_offline.tokens import input_tokens, spent_before

FILES = {
    "src/pay.py": "import os\n\n\ndef pay(db, user):\n"
    "    return db.execute(f\"SELECT id FROM u WHERE name = '{user}'\")\n",
    "src/tax.py": 'def rate(kind):\n    """The rate.\n\n    >>> rate("food")\n    7\n    """\n'
    '    return 7 if kind == "food" else 19\n\n\ndef other(x):\n    return x\n',
    "web/app.js": "console.log(1)\n",
    "README.md": "# Pay\n\n[missing](nothing.md)\n",
    "logo.png": "no text",
}
BRIEF = Brief(
    agent="code-reviewer",
    role="Review code",
    goal="Review the code",
    criteria=("Every finding names a file and a line", "All tests pass", "Readers are happy"),
    artifacts=(ArtifactTarget("review.md", "out/review.md"),),
    scope=(".",),
)


def schema(name: str, *arguments: str) -> ToolSchema:
    properties = {argument: {"type": "string"} for argument in arguments}
    return ToolSchema(name, f"The tool {name}.", {"type": "object", "properties": properties})


ANALYZE = AnalyzeTool().schema
WRITE = schema("write_file", "path", "content", "overwrite")
READ = schema("read_file", "path", "first", "last")
LIST = schema("list_files", "path", "limit")
GREP = schema("grep", "pattern", "path", "ignore_case", "limit")

Answer = Callable[[Mapping[str, Any]], Any]


@dataclass
class Bench:
    """Runs the model against tools, as the agent loop does. `written` are the files it wrote."""

    root: Path
    tools: tuple[ToolSchema, ...]
    written: dict[str, str] = field(default_factory=dict)
    requests: list[ModelRequest] = field(default_factory=list)
    answers: list[Completion] = field(default_factory=list)
    fail: tuple[str, ...] = ()
    cap: int | None = None

    async def run(self, brief: Brief, *more: Message) -> Completion:
        model = OfflineModel("offline")
        messages: tuple[Message, ...] = (*first_messages(brief), *more)
        previous = None
        for _ in range(8):
            request = ModelRequest(messages, self.tools, self.cap, previous=previous)
            bound = model.bound(request)
            answer = await model.complete(request)
            assert answer.usage is not None
            assert answer.usage.input_tokens <= bound.input_tokens
            assert answer.usage.output_tokens <= bound.output_tokens
            previous = PreviousCall(messages, self.tools, None, None, answer.usage)
            self.requests.append(request)
            self.answers.append(answer)
            if not answer.message.tool_calls:
                return answer
            results = [await self._result(call) for call in answer.message.tool_calls]
            messages = (*messages, answer.message, *results)
        raise AssertionError("the model does not come to an end")

    @property
    def tokens(self) -> int:
        return sum(answer.usage.tokens for answer in self.answers if answer.usage)

    async def _result(self, call: Any) -> Message:
        if call.name in self.fail:
            return Message("tool", "not allowed: nothing", tool_call_id=call.id, is_error=True)
        arguments = json.loads(call.arguments)
        try:
            text = await self._tool(call.name, call.arguments, arguments)
        except OSError as error:
            return Message("tool", str(error), tool_call_id=call.id, is_error=True)
        return Message("tool", text, tool_call_id=call.id)

    async def _tool(self, name: str, text: str, arguments: Mapping[str, Any]) -> str:
        if name == "analyze":
            return await self._analyze(text)
        if name == "write_file":
            self.written[arguments["path"]] = arguments["content"]
            return f"created: {arguments['path']}"
        if name == "list_files":
            return "\n".join(sorted(p.relative_to(self.root).as_posix() for p in files(self.root)))
        if name == "grep":
            return "src/tax.py:1:def rate(kind):\nsrc/pay.py:4:def pay(db, user):"
        lines = (self.root / arguments["path"]).read_text().splitlines()
        first, last = arguments.get("first", 1), arguments.get("last", len(lines))
        shown = [f"{n:>6}\t{line}" for n, line in enumerate(lines, 1) if first <= n <= last]
        return "\n".join([*shown, f"[lines; {len(lines)} bytes; sha256 {'ab' * 32}]"])

    async def _analyze(self, text: str) -> str:
        tool = AnalyzeTool()
        with Workspace.open(self.root) as workspace:
            subject = Subject("a", "a", (Grants(fs_read=(".",)),))
            context = ToolContext("a", "a", "r", workspace, readable=readable(subject))
            return (await tool.run(tool.parse(text), context)).content


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


async def test_a_review_is_written_with_places_and_coverage(root: Path) -> None:
    bench = Bench(root, (ANALYZE, WRITE))
    answer = await bench.run(BRIEF)
    report = bench.written["out/review.md"]
    assert MARK in report
    assert "`src/pay.py:1`" in report
    assert "`README.md:3`" in report
    assert "JavaScript 1" in report
    assert "`logo.png`" in report
    assert answer.finish_reason == "stop"
    assert MARK in answer.message.content
    assert len(bench.requests) == 3


async def test_criteria_are_judged_honestly(root: Path) -> None:
    answer = await Bench(root, (ANALYZE, WRITE)).run(BRIEF)
    verdicts = [c.verdict for c in read_answer(answer.message.content, BRIEF.criteria).criteria]
    assert verdicts == ["met", "not checked", "not checked"]


async def test_the_same_conversation_gives_the_same_answer(root: Path) -> None:
    answers = []
    for _ in range(2):
        bench = Bench(root, (ANALYZE, WRITE))
        await bench.run(BRIEF)
        answers.append([(a.message.content, a.message.tool_calls, a.usage) for a in bench.answers])
    assert answers[0] == answers[1]


async def test_a_security_audit_reports_what_a_review_does_not(root: Path) -> None:
    brief = replace(BRIEF, agent="sec-audit", artifacts=(ArtifactTarget("a.json", "a.json"),))
    bench = Bench(root, (ANALYZE, WRITE))
    await bench.run(brief)
    report = json.loads(bench.written["a.json"])
    assert [(f["path"], f["line"], f["rule"]) for f in report["findings"]] == [
        ("src/pay.py", 5, "sql-injection")
    ]
    assert "no language model" in report["generator"]


async def test_tests_are_written_beside_the_report(root: Path) -> None:
    bench = Bench(root, (ANALYZE, WRITE))
    brief = replace(BRIEF, agent="test-gen", artifacts=(ArtifactTarget("t.md", "out/t.md"),))
    await bench.run(brief)
    assert "assert rate('food') == 7" in bench.written["out/test_derived.py"]
    assert "other:10" in bench.written["out/t.md"]


async def test_patterns_become_names_that_match_them(root: Path) -> None:
    bench = Bench(root, (ANALYZE, WRITE))
    target = ArtifactTarget("tests/**/test_*.py", "tests/**/test_*.py")
    await bench.run(replace(BRIEF, agent="test-gen", artifacts=(target,)))
    assert list(bench.written) == ["tests/test_derived.py"]


async def test_without_write_file_the_report_is_the_answer(root: Path) -> None:
    answer = await Bench(root, (ANALYZE,)).run(BRIEF)
    assert "## Findings" in answer.message.content
    assert "`src/pay.py:1`" in answer.message.content


async def test_a_refused_write_puts_the_report_into_the_answer(root: Path) -> None:
    answer = await Bench(root, (ANALYZE, WRITE), fail=("write_file",)).run(BRIEF)
    assert "out/review.md was not written: not allowed" in answer.message.content
    assert "`src/pay.py:1`" in answer.message.content


async def test_without_analyze_the_files_are_read_one_by_one(root: Path) -> None:
    bench = Bench(root, (LIST, READ, WRITE))
    await bench.run(replace(BRIEF, agent="sec-audit"))
    report = bench.written["out/review.md"]
    assert "`src/pay.py:5`" in report
    assert "ruff was not used" in report


async def test_a_failing_analysis_is_replaced_by_reading(root: Path) -> None:
    bench = Bench(root, (ANALYZE, LIST, READ, WRITE), fail=("analyze",))
    await bench.run(replace(BRIEF, agent="sec-audit"))
    assert "`src/pay.py:5`" in bench.written["out/review.md"]
    assert "analyze failed: not allowed: nothing" in bench.written["out/review.md"]


async def test_without_any_tool_it_says_what_it_needs() -> None:
    answer = await Bench(Path(), ()).run(BRIEF)
    assert "no tool to analyse or read files was granted" in answer.message.content
    verdicts = {c.verdict for c in read_answer(answer.message.content, BRIEF.criteria).criteria}
    assert verdicts == {"not checked"}


async def test_a_report_of_an_earlier_run_is_replaced(root: Path) -> None:
    (root / "out").mkdir()
    (root / "out/review.md").write_text(f"# Code review\n\n{MARK}\n")
    bench = Bench(root, (ANALYZE, READ, WRITE))
    await bench.run(BRIEF)
    writes = [c for a in bench.answers for c in a.message.tool_calls if c.name == "write_file"]
    assert json.loads(writes[0].arguments)["overwrite"] == "ab" * 32


async def test_a_file_of_somebody_else_is_never_replaced(root: Path) -> None:
    (root / "out").mkdir()
    (root / "out/review.md").write_text("# My own notes\n")
    bench = Bench(root, (ANALYZE, READ, WRITE))
    answer = await bench.run(BRIEF)
    assert bench.written == {}
    assert "out/review.md exists and is not ours" in answer.message.content
    assert "## Findings" in answer.message.content


async def test_research_quotes_lines_and_lists_what_is_missing(root: Path) -> None:
    brief = replace(BRIEF, agent="researcher", goal="How does rate work with zebras?")
    bench = Bench(root, (LIST, READ, GREP, WRITE))
    await bench.run(brief)
    report = bench.written["out/review.md"]
    assert "`src/tax.py:1` `def rate(kind):`" in report
    assert "not found anywhere: zebras" in report


async def test_a_continued_conversation_takes_up_the_new_task(root: Path) -> None:
    bench = Bench(root, (ANALYZE, GREP))
    first = await bench.run(replace(BRIEF, agent="general"))
    bench.requests.clear()
    more = (first.message, Message("user", "Is there a security vulnerability?"))
    answer = await bench.run(replace(BRIEF, agent="general"), *more)
    assert "# Security audit" in answer.message.content
    assert "`src/pay.py:5`" in answer.message.content


def many(root: Path, count: int) -> None:
    for number in range(count):
        path = root / f"src/module_{number}.py"
        head = f"import os\nimport sys\n\n\ndef f{number}(x=[]):\n"
        path.write_text(f"{head}    x.append(name{number})\n    return x\n")


async def test_a_large_repository_stays_within_a_modest_budget(root: Path) -> None:
    many(root, 400)
    bench = Bench(root, (ANALYZE, WRITE, READ, LIST, GREP))
    await bench.run(replace(BRIEF, tokens_left=40_000))
    report = bench.written["out/review.md"]
    assert bench.tokens < 40_000
    assert "left out for size" in report
    assert "the analysis had no room for" in report


@pytest.mark.parametrize("left", [3_000, 5_000, 8_000, 16_000])
async def test_a_small_budget_is_kept(left: int, root: Path) -> None:
    many(root, 60)
    bench = Bench(root, (ANALYZE, WRITE))
    answer = await bench.run(replace(BRIEF, tokens_left=left))
    assert bench.tokens <= left
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("cap", [300, 500, 1_000, 4_000])
async def test_a_report_that_does_not_fit_is_shortened_and_says_so(cap: int, root: Path) -> None:
    many(root, 60)
    bench = Bench(root, (ANALYZE, WRITE), cap=cap)
    answer = await bench.run(BRIEF)
    assert all(a.usage is not None and a.usage.output_tokens <= cap for a in bench.answers)
    assert answer.finish_reason == "stop"
    texts = [*bench.written.values(), answer.message.content]
    assert any("left out for size" in text or "no room for it" in text for text in texts)


async def test_a_cut_analysis_is_used_as_far_as_it_goes(root: Path) -> None:
    many(root, 30)
    model = OfflineModel("offline")
    messages = first_messages(BRIEF)
    asked = (await model.complete(ModelRequest(messages, (ANALYZE,)))).message
    whole = await Bench(root, (ANALYZE,))._analyze(asked.tool_calls[0].arguments)
    cut = Message("tool", whole[: len(whole) // 2], tool_call_id=asked.tool_calls[0].id)
    answer = await model.complete(ModelRequest((*messages, asked, cut), (ANALYZE,)))
    assert "the answer of the analysis was cut on its way" in answer.message.content
    verdict = read_answer(answer.message.content, BRIEF.criteria).criteria[0].verdict
    assert verdict == "not met"


async def test_an_answer_in_a_schema_is_refused_with_a_way_out() -> None:
    request = ModelRequest(first_messages(BRIEF), output_schema={"type": "object"})
    with pytest.raises(ModelError, match="take `output` out of the definition") as caught:
        await OfflineModel("offline").complete(request)
    assert caught.value.fault == "invalid_request"
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("agent", "goal", "job"),
    [
        ("code-reviewer", "Look for vulnerabilities", "review"),
        ("my-agent", "Look for vulnerabilities and secrets", "security"),
        ("my-agent", "Write unit tests for the parser", "tests"),
        ("my-agent", "Where is the parser?", "research"),
        ("python-review-bot", "Do a review of src", "review"),
        ("x", "", "research"),
    ],
)
def test_the_job_follows_the_name_then_the_words(agent: str, goal: str, job: str) -> None:
    assert choose_job(Brief(agent=agent, role="", goal=goal)).name == job


def test_four_bytes_are_a_token_and_every_turn_sends_everything_again() -> None:
    messages = (Message("user", "abcde"), Message("assistant", "ああ"), Message("user", "xyz"))
    assert input_tokens(ModelRequest(messages)) == 2 + 2 + 1
    assert spent_before(ModelRequest(messages)) == 2 + 2


async def test_a_repository_of_other_languages_is_told_what_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    (tmp_path / "lib.rs").write_text("fn main() {}\n")
    criteria = ("What stays untested is listed", "What was not looked at is listed")
    bench = Bench(tmp_path, (ANALYZE, WRITE))
    answer = await bench.run(replace(BRIEF, agent="test-gen", criteria=criteria))
    assert "0 Python files" in answer.message.content
    assert "nothing is known of Go 1, Rust 1 files" in answer.message.content
    judged = read_answer(answer.message.content, criteria).criteria
    assert [criterion.verdict for criterion in judged] == ["not met", "met"]
    assert "Go 1, Rust 1" in bench.written["out/review.md"]
