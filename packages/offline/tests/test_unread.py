"""What was not read is named, whatever it is, and what a verdict says of it is so."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import readable
from sashizu_core.prompt import Brief
from sashizu_core.workspace import Workspace
from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.criteria import judge
from sashizu_offline.jobs import JOBS
from sashizu_offline.plan import answer_text, report_of
from sashizu_offline.report import Report, artifact_text
from sashizu_offline.results import Result, as_lines
from sashizu_offline.sources import Sources, read_sources
from sashizu_offline.survey import Survey
from sashizu_offline.visible import code

CRITERION = "Files in scope that were not read are listed"
ODD = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs names of any bytes")


def read(root: Path, *paths: str) -> Sources:
    allowed = readable(Subject("a", "a", (Grants(fs_read=(".",)),)))
    with Workspace.open(root) as workspace:
        return read_sources(workspace, paths or (".",), allowed)


def result_of(sources: Sources) -> Result:
    return Result.of(["review"], sources, Survey(), None)


@ODD
def test_links_pipes_sockets_and_odd_names_are_named_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ok.py").write_text("x = 1\n")
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    (tmp_path / "self").symlink_to(".")
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / os.fsdecode(b"bad\xff.py")).write_text("x")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.py")
        sources = read(tmp_path)
    assert sources.texts.keys() == {"ok.py"}
    assert set(sources.unread) == {"link.py", "self", "fifo.py", "sock.py", "bad\\xff.py"}
    assert sum(sources.left_out.values()) == 5
    assert {reason.partition(":")[0] for reason in sources.left_out} == {
        "link, not followed",
        "special file",
        "name is no UTF-8",
    }


def test_what_two_paths_hold_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.bin").write_bytes(b"\0")
    (tmp_path / "a" / "link").symlink_to("data.bin")
    sources = read(tmp_path, ".", "a", "a/data.bin")
    assert sum(sources.left_out.values()) == 2
    assert sorted(sources.unread) == ["a/data.bin", "a/link"]


def verdict(result: Result, *written: str) -> tuple[str, str]:
    report = Report(Brief(agent="a", role="r", goal="g"), JOBS["review"], result)
    report.texts = list(written)
    return judge(CRITERION, report, ["r.md"])


def test_a_verdict_counts_the_names_and_not_what_they_stand_for(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / "node_modules" / f"{number}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_text("1\n")
    (tmp_path / "data").write_bytes(b"\0")
    result = result_of(read(tmp_path))
    said, evidence = verdict(result)
    assert said == "met"
    assert "2 names for 31 unread files" in evidence


def test_names_that_a_written_report_left_out_are_not_called_named() -> None:
    sources = Sources()
    for number in range(50):
        sources.leave_out(f"f{number}.bin", "binary")
    result = result_of(sources)
    report = Report(Brief(agent="a", role="r", goal="g"), JOBS["review"], result)
    whole, short = artifact_text(report, "r.md", 10**6), artifact_text(report, "r.md", 700)
    assert verdict(result, whole)[0] == "met"
    said, evidence = verdict(result, short)
    named = sum(code(name) in short for name in result.unread)
    assert 0 < named < 50
    assert said == "not met"
    assert f"{named} of 50" in evidence
    assert verdict(result, "# Something else", whole)[0] == "met"


def test_an_answer_that_is_the_report_is_judged_by_what_it_names() -> None:
    sources = Sources()
    for number in range(900):
        sources.leave_out(f"folder/file{number}.bin", "binary")
    brief = Brief(agent="a", role="r", goal="g", criteria=(CRITERION,))
    report = Report(brief, JOBS["review"], result_of(sources))
    answer = answer_text(Conversation(brief, {}), report, 20_000)
    assert len(answer.encode()) <= 20_000
    named = answer.count("`folder/file")
    assert 0 < named < 900
    assert '"not met"' in answer
    assert f"{named} of 900" in answer


def test_a_json_report_names_what_was_not_read() -> None:
    sources = Sources()
    sources.leave_out("a\x1b.bin", "binary")
    result = result_of(sources)
    report = Report(Brief(agent="a", role="r", goal="g"), JOBS["review"], result)
    text = artifact_text(report, "r.json", 10**6)
    assert json.loads(text)["coverage"]["unread"] == ["a\x1b.bin"]
    assert verdict(result, text)[0] == "met"


def test_files_beyond_the_bound_of_a_walk_are_never_called_listed() -> None:
    sources = Sources()
    sources.incomplete = True
    said, evidence = verdict(result_of(sources))
    assert said == "not met"
    assert "more files" in evidence


def test_the_texts_that_were_written_are_what_is_judged() -> None:
    result = result_of(Sources())
    exchanges = (
        Exchange("analyze", {}, as_lines(result, 10_000), False),
        Exchange("write_file", {"path": "r.md", "content": "one"}, "created", False),
        Exchange("write_file", {"path": "s.md", "content": "two"}, "denied", True),
    )
    conversation = Conversation(Brief(agent="a", role="r", goal="g"), {}, exchanges)
    assert report_of(conversation, JOBS["review"]).texts == ["one"]
