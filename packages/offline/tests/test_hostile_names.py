"""Names that a repository chooses are shown in reports, and do nothing there."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import readable
from sashizu_core.prompt import Brief
from sashizu_core.protocols import ToolContext
from sashizu_core.workspace import Workspace
from sashizu_offline.analyze import AnalyzeTool
from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.criteria import criteria_block
from sashizu_offline.jobs import JOBS
from sashizu_offline.plan import answer_text
from sashizu_offline.report import Report, artifact_text
from sashizu_offline.research import Research
from sashizu_offline.results import Result, read_lines
from sashizu_offline.visible import code, visible

HOSTILE = [
    "esc\x1b]0;PWN\x07",
    "nl\n# No findings",
    "cr\rname",
    "rlo\u202egnp",
    "ticks`a`",
    "``two``",
    "c1\x9b31m",
    "del\x7f",
    "ls\u2028# Heading",
    "hidden\u200b\U000e0041",
    "[a](http:b)",
]
BUG = "import os\n\n\ndef f(x):\n    os.system(x)\n    return missing\n"
EXAMPLE = (
    'def k(a):\n    """K.\n\n    >>> k(1)\n    2\n    """\n    return a + 1\n'
    "\n\ndef u(x):\n    return x\n"
)


def harmless(text: str) -> bool:
    return all(letter == "\n" or letter.isprintable() for letter in text)


async def analysed(root: Path, *checks: str) -> Result:
    tool = AnalyzeTool()
    asked = json.dumps({"checks": checks, "max_bytes": 100_000})
    with Workspace.open(root) as workspace:
        allowed = readable(Subject("a", "a", (Grants(fs_read=(".",)),)))
        context = ToolContext("a", "a", "r", workspace, readable=allowed)
        result = read_lines((await tool.run(tool.parse(asked), context)).content)
    assert result is not None
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in HOSTILE:
        (tmp_path / f"{name.replace('/', ':')}.py").write_text(BUG)
        folder = tmp_path / name.replace("/", ":")
        folder.mkdir()
        (folder / "mod.py").write_text(EXAMPLE)
        (folder / "broken.py").write_text("def f(:\n")
        (folder / "large.txt").write_bytes(b"\0binary")
    return tmp_path


BRIEF = Brief(agent="a", role="r", goal="Look", criteria=("Files not read are listed",))


@pytest.mark.parametrize("job", ["review", "security", "tests"])
async def test_no_name_writes_anything_of_its_own_into_a_report(job: str, root: Path) -> None:
    kind = JOBS[job]
    report = Report(BRIEF, kind, await analysed(root, *kind.checks))
    for path in ("r.md", "r.json", "r.txt", "test_r.py"):
        text = artifact_text(report, path, 10**6)
        assert harmless(text), path
        assert not re.search(r"^# (No findings|Heading)", text, re.MULTILINE)
    assert harmless(criteria_block(report, ["esc\x1b.md"]))
    for written in (["out\x1b.md"], []):
        conversation = Conversation(BRIEF, {}, _written(written))
        assert harmless(answer_text(conversation, report, 10**6))


def _written(paths: list[str]) -> tuple[Exchange, ...]:
    return tuple(Exchange("write_file", {"path": path}, "created", False) for path in paths)


async def test_json_reports_hold_the_names_as_they_are(root: Path) -> None:
    report = Report(BRIEF, JOBS["review"], await analysed(root, "review"))
    found = json.loads(artifact_text(report, "r.json", 10**6))["findings"]
    paths = {finding["path"] for finding in found}
    assert {f"{name.replace('/', ':')}.py" for name in HOSTILE} <= paths


def test_quoted_lines_and_folders_of_research_are_harmless() -> None:
    hits = "\n".join(f"{name.replace(chr(10), '')}.py:3:def look(): \x1b[2J" for name in HOSTILE)
    listed = "\n".join(f"{name.replace(chr(10), '')}/x.py" for name in HOSTILE)
    exchanges = (Exchange("grep", {}, hits, False), Exchange("list_files", {}, listed, False))
    conversation = Conversation(BRIEF, {}, exchanges)
    report = Report(BRIEF, JOBS["research"], research=Research.of(conversation))
    for path in ("r.md", "r.json"):
        text = artifact_text(report, path, 10**6)
        assert harmless(text)
        assert "def look()" in text
    assert harmless(answer_text(conversation, report, 10**6))


def test_what_a_task_says_is_harmless_too() -> None:
    brief = Brief(agent="a", role="r", goal="Look \x1b[2J\u202e", scope=("nl\n# Heading",))
    report = Report(
        brief, JOBS["review"], Result(checks=("review",)), problems=["grep \x07 failed"]
    )
    assert harmless(artifact_text(report, "r.md", 10**6))


@given(st.text(max_size=30))
def test_a_code_span_holds_what_it_shows_and_ends_where_it_should(text: str) -> None:
    span = code(text)
    assert harmless(span)
    fence = re.match("`+", span)
    assert fence is not None
    inside = span.removeprefix(fence[0]).removesuffix(fence[0])
    assert fence[0] not in re.findall("`+", inside), "a run of that length would end it"
    if inside.startswith(" ") and inside.endswith(" ") and inside.strip():
        inside = inside[1:-1]  # as CommonMark takes them off
    assert inside == (visible(text) or " ")


@given(st.text())
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert harmless(visible(text))
    assert "\n" not in visible(text)
    assert visible(visible(text)) == visible(text)
    plain = "".join(letter for letter in text if letter.isprintable())
    assert visible(plain) == plain
