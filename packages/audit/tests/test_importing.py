"""Sessions of other programs: counted once, told as declared, and whatever their files hold."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_audit import AuditStore, AuditWriter, foreign, importing, verify_record
from sashizu_audit.canned import find_canned
from sashizu_audit.claude_sessions import read_claude
from sashizu_audit.cli import app
from sashizu_audit.codex_sessions import read_codex
from sashizu_audit.disk import locked
from sashizu_audit.export import export_record
from sashizu_audit.importing import Program, import_sessions
from sashizu_audit.layout import open_layout
from sashizu_audit.spool import WriterOptions
from sashizu_audit.statistics import statistics_of
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from sashizu_core.redaction import Redactor
from sashizu_core.settings import Settings
from typer.testing import CliRunner

SMALL = WriterOptions(ballast_bytes=0)
TIME = "2026-01-02T10:00:0{}.000Z"


def write(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return path


def codex(kind: str, second: int = 1, /, **payload: object) -> dict[str, Any]:
    return {"timestamp": TIME.format(second), "type": kind, "payload": payload}


def used(response_id: str, tokens: int, **more: object) -> dict[str, Any]:
    usage = {"input_tokens": tokens, "cached_input_tokens": 3, "output_tokens": 2}
    return codex("token_usage_record", 3, response_id=response_id, usage=usage, **more)


@pytest.fixture
def rollouts(tmp_path: Path) -> Path:
    day = tmp_path / "sessions" / "2026" / "01" / "02"
    spawn = {"thread_spawn": {"parent_thread_id": "root", "agent_role": "explorer"}}
    write(
        day / "rollout-1.jsonl",
        codex("session_meta", id="root", model_provider="openai", source="cli"),
        codex("turn_context", model="gpt-x"),
        used("r1", 10, thread_id="root"),
        codex("event_msg", type="token_count", info={"last_token_usage": {"input_tokens": 10}}),
        codex("response_item", type="function_call", name="shell", call_id="c1"),
        codex("response_item", type="function_call_output", call_id="c1"),
        codex("response_item", type="function_call", name="wait", call_id="c2"),
        used("r1", 10),
        used("r2", 20),
    )
    write(
        day / "rollout-2.jsonl",
        codex("session_meta", 4, id="child", source={"subagent": spawn}),
        codex("session_meta", id="root"),
        used("r1", 10, thread_id="root"),
        {**used("copied", 1000), "ordinal": 3, "payload": {"thread_id": "root"}},
        used("r3", 100, thread_id="child"),
    )
    return tmp_path / "sessions"


@pytest.fixture
def transcripts(tmp_path: Path) -> Path:
    place = tmp_path / "projects"
    usage = {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 8}

    def answer(message_id: str, output: int, *blocks: object, **more: object) -> dict[str, Any]:
        told = {"id": message_id, "model": "claude-x", "usage": {**usage, "output_tokens": output}}
        return {
            "type": "assistant",
            "sessionId": "s1",
            "timestamp": TIME.format(5),
            "message": {**told, "content": list(blocks)},
            **more,
        }

    asked = {"type": "tool_use", "id": "t1", "name": "Task"}
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True}
    about = {"agentId": "a1", "agentType": "Explore", "totalTokens": 10**6}
    ended = {"type": "user", "sessionId": "s1", "toolUseResult": about}
    write(
        place / "p" / "s1.jsonl",
        {"type": "summary", "summary": "x"},
        answer("m1", 1),
        answer("m1", 4, asked),
        {**ended, "message": {"content": [result]}},
        answer("none", 9) | {"message": {"model": "<synthetic>", "usage": {}}},
    )
    write(place / "p" / "s1" / "subagents" / "agent-a1.jsonl", answer("m2", 30, agentId="a1"))
    write(place / "p" / "s2.jsonl", answer("m1", 4) | {"sessionId": "s2"})
    return place


def unchanged(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return fields


def imported(folder: Path, program: Program, place: Path) -> Any:
    return import_sessions(folder, program, place, SMALL, unchanged)


def test_a_tree_of_codex_costs_what_its_answers_cost_each_once(
    rollouts: Path, tmp_path: Path
) -> None:
    done = imported(tmp_path / "audit", "codex", rollouts)
    assert (done.runs, done.sessions, done.model_calls, done.tool_calls) == (1, 2, 3, 2)
    assert (done.tokens, done.skipped_lines) == (12 + 22 + 102, 0)
    store = AuditStore(tmp_path / "audit")
    paths = store.query(
        "SELECT t.path, sum(u.tokens) FROM agent_tree t JOIN token_usage u USING (agent_id) "
        "GROUP BY 1 ORDER BY 1"
    )
    assert paths.rows == (("codex/main", 34), ("codex/main/codex/explorer", 102))
    calls = store.query(
        "SELECT provider, model, cache_read_tokens FROM model_calls ORDER BY tokens"
    )
    assert calls.rows[0] == ("openai", "gpt-x", 3)
    tools = store.query("SELECT tool, outcome FROM tool_calls ORDER BY tool").rows
    assert tools == (("codex/shell", "done"), ("codex/wait", "no result"))


def test_older_rollouts_tell_of_an_answer_more_than_once(tmp_path: Path) -> None:
    def count(last: int, total: int) -> dict[str, Any]:
        info = {
            "last_token_usage": {"input_tokens": last},
            "total_token_usage": {"total_tokens": total},
        }
        return codex("event_msg", type="token_count", info=info)

    path = write(
        tmp_path / "old.jsonl",
        codex("session_meta", id="a"),
        codex("event_msg", type="token_count", info=None),
        count(7, 7),
        count(7, 7),
        count(7, 14),
    )
    steps = read_codex(path).sessions["a"].steps
    assert [step.usage.tokens for step in steps if isinstance(step, foreign.ModelCall)] == [7, 7]


def test_history_that_was_copied_from_who_started_it_is_not_its_own(tmp_path: Path) -> None:
    first = {"id": "child", "subagent_history_start_ordinal": 2, "parent_thread_id": "gone"}
    path = write(
        tmp_path / "child.jsonl",
        {**codex("session_meta", **first), "ordinal": 0},
        {**used("r1", 1000), "ordinal": 1},
        {**used("r2", 10), "ordinal": 2},
    )
    (step,) = read_codex(path).sessions["child"].steps
    assert isinstance(step, foreign.ModelCall)
    assert step.response_id == "r2"


def test_a_tree_of_claude_costs_what_its_answers_cost_each_once(
    transcripts: Path, tmp_path: Path
) -> None:
    done = imported(tmp_path / "audit", "claude", transcripts)
    assert (done.runs, done.sessions, done.model_calls, done.tool_calls) == (2, 3, 2, 1)
    assert done.tokens == (20 + 4) + (20 + 30)
    store = AuditStore(tmp_path / "audit")
    usage = store.query(
        "SELECT agent_name, input_tokens, cache_read_tokens, cache_write_tokens, tokens "
        "FROM token_usage ORDER BY tokens"
    )
    assert usage.rows == (("claude/main", 20, 7, 8, 24), ("claude/Explore", 20, 7, 8, 50))
    assert store.query("SELECT tool, outcome FROM tool_calls").rows == (("claude/Task", "failed"),)


@pytest.mark.parametrize("program", ["codex", "claude"])
def test_a_second_import_adds_nothing(
    rollouts: Path, transcripts: Path, tmp_path: Path, program: Program
) -> None:
    place = rollouts if program == "codex" else transcripts
    first = imported(tmp_path / "audit", program, place)
    again = imported(tmp_path / "audit", program, place)
    assert (again.sessions, again.tokens, again.known) == (0, 0, first.sessions)


@pytest.mark.parametrize("program", ["codex", "claude"])
def test_of_a_session_that_went_on_what_is_new_is_added_and_nothing_twice(
    rollouts: Path, transcripts: Path, tmp_path: Path, program: Program
) -> None:
    folder = tmp_path / "audit"
    place = rollouts if program == "codex" else transcripts
    first = imported(folder, program, place)
    if program == "codex":
        path = place / "2026" / "01" / "02" / "rollout-1.jsonl"
        asked = codex("response_item", 7, type="function_call", name="shell", call_id="c7")
        more: list[object] = [asked, used("r7", 1000, thread_id="root")]
    else:
        path = place / "p" / "s1.jsonl"
        told = {"id": "m7", "model": "claude-x", "usage": {"input_tokens": 1000}}
        block = {"type": "tool_use", "id": "t7", "name": "Read"}
        line = {"type": "assistant", "sessionId": "s1", "timestamp": TIME.format(7)}
        more = [{**line, "message": {**told, "content": [block]}}]
    path.write_text(path.read_text() + "".join(f"{json.dumps(line)}\n" for line in more))
    second = imported(folder, program, place)
    assert (second.grown, second.known, second.runs) == (1, first.sessions, 0)
    assert (second.model_calls, second.tool_calls) == (1, 1)
    assert second.tokens in (1000, 1002)
    assert imported(folder, program, place).grown == 0
    store = AuditStore(folder)
    total = first.tokens + second.tokens
    assert store.query("SELECT sum(tokens) FROM token_usage").rows == ((total,),)
    assert store.query("SELECT sum(tokens) FROM agent_executions").rows == ((total,),)
    assert store.query("SELECT count(*), count(DISTINCT run_id) FROM runs").rows == (
        (first.runs, first.runs),
    )
    assert store.query("SELECT count(*) - count(DISTINCT tool_call_id) FROM tool_calls").rows == (
        (0,),
    )
    assert (
        store.query("FROM agent_executions WHERE run_id NOT IN (SELECT run_id FROM runs)").rows
        == ()
    )


def test_of_two_imports_at_once_one_works(rollouts: Path, tmp_path: Path) -> None:
    open_layout(tmp_path / "audit", 0)
    with locked(tmp_path / "audit" / "import.lock") as mine:
        assert mine
        with pytest.raises(RecordError, match="another import"):
            imported(tmp_path / "audit", "codex", rollouts)
    assert AuditStore(tmp_path / "audit").query("FROM runs").rows == ()


def test_what_is_declared_is_compared_with_what_was_seen(rollouts: Path, tmp_path: Path) -> None:
    imported(tmp_path / "audit", "codex", rollouts)
    seen = {"run_id": uuid7(), "agent_id": uuid7(), "step": 0, "model": "gpt-x"}
    with AuditWriter(tmp_path / "audit", options=SMALL) as writer:
        writer.write([Event("model.requested", seen)])
        writer.write([Event("model.answered", {**seen, "response_id": "r2", "tokens": 30})])
    (row,) = [
        row
        for row in AuditStore(tmp_path / "audit").query(find_canned("declared").sql).dicts()
        if row["model"] == "gpt-x"
    ]
    assert (row["declared_by"], row["answers"], row["declared"]) == ("codex", 2, 34)
    assert (row["seen_answers"], row["declared_of_seen"], row["seen"]) == (1, 22, 30)


def test_what_an_agent_cost_is_never_added_to_what_is_declared(
    rollouts: Path, tmp_path: Path
) -> None:
    imported(tmp_path / "audit", "codex", rollouts)
    store = AuditStore(tmp_path / "audit")
    ((declared_run,),) = store.query("SELECT CAST(run_id AS VARCHAR) FROM runs").rows
    who = {"run_id": uuid7(), "agent_id": uuid7(), "agent_name": "codex/main"}
    with AuditWriter(tmp_path / "audit", options=SMALL) as writer:
        writer.write([Event("agent.started", who)])
        writer.write([Event("model.answered", {**who, "tokens": 30, "cost_nusd": 10**9})])

    def sums(name: str, run: str) -> set[tuple[object, ...]]:
        canned = find_canned(name)
        rows = store.query(canned.sql, canned.values((), lambda _: run)).dicts()
        return {(row["tokens"], row["usd"], row["declared"]) for row in rows}

    assert sums("cost-by-agent", "") == {(30, 1.0, 34), (None, None, 102)}
    assert sums("trees", "") == {(30, 1.0, None), (None, None, 136)}
    assert sums("cost-by-path", declared_run) == {(None, None, 34), (None, None, 102)}
    assert sums("burn-rate", declared_run) == {(None, None, 136)}
    assert sums("burn-rate", who["run_id"]) == {(30, 1.0, None)}


@pytest.mark.parametrize("program", ["codex", "claude"])
def test_no_file_fills_the_memory_with_calls_or_sessions(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "MOST_STEPS", 3)
    monkeypatch.setattr(foreign, "MOST_SESSIONS", 2)
    for session in ("a", "b", "c"):
        if program == "codex":
            calls = [used(f"{session}{number}", 1) for number in range(9)]
            write(tmp_path / f"{session}.jsonl", codex("session_meta", id=session), *calls)
        else:
            told = {"model": "m", "usage": {"input_tokens": 1}}
            lines = [{"type": "assistant", "sessionId": session} for _ in range(9)]
            rows = [{**x, "message": {"id": f"{session}{n}", **told}} for n, x in enumerate(lines)]
            write(tmp_path / f"{session}.jsonl", *rows)
    found = (read_codex if program == "codex" else read_claude)(tmp_path)
    assert [len(session.steps) for session in found.sessions.values()] == [4, 4]
    assert found.skipped_lines


def test_ids_that_are_no_ids_count_once_however_often_they_are_imported(tmp_path: Path) -> None:
    key = "sk-proj-" + "a1B2" * 12
    place = write(tmp_path / "s.jsonl", codex("session_meta", id="one"), used(key, 10))
    redactor = Redactor()
    for known in (0, 1, 1):
        done = import_sessions(tmp_path / "audit", "codex", place, SMALL, redactor.fields)
        assert (done.known, done.grown) == (known, 0)


def test_what_is_imported_is_never_told_as_seen(rollouts: Path, tmp_path: Path) -> None:
    imported(tmp_path / "audit", "codex", rollouts)
    store = AuditStore(tmp_path / "audit")
    marks = store.query(
        "SELECT DISTINCT json_extract_string(attrs, '$.declared_by'), writer_id FROM events "
        "WHERE NOT starts_with(kind, 'writer.')"
    ).rows
    assert len(marks) == 1
    assert marks[0][0] == "codex"
    for view in ("runs", "agent_executions", "token_usage"):
        assert store.query(f"SELECT DISTINCT declared_by FROM {view}").rows == (("codex",),)
    statuses = store.query("SELECT DISTINCT status FROM agent_executions").rows
    assert statuses == (("declared",),)
    numbers = statistics_of(tmp_path / "audit")
    assert (numbers.tokens, numbers.declared_tokens) == (0, 136)
    assert verify_record(tmp_path / "audit").exit_code == 0


def test_traces_and_totals_tell_what_was_declared_and_no_cost(
    rollouts: Path, tmp_path: Path
) -> None:
    imported(tmp_path / "audit", "codex", rollouts)
    export_record(tmp_path / "audit", tmp_path / "traces", "otlp")
    data = json.loads((tmp_path / "traces" / "traces.jsonl").read_bytes())
    spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]
    mark = {"key": "sashizu.declared_by", "value": {"stringValue": "codex"}}
    assert len(spans) == 8
    assert all(mark in span["attributes"] for span in spans)
    begun = datetime.fromisoformat(TIME.format(1)).timestamp()
    assert min(int(span["startTimeUnixNano"]) for span in spans) == begun * 1e9
    export_record(tmp_path / "audit", tmp_path / "totals", "prometheus")
    text = (tmp_path / "totals" / "metrics.prom").read_text("utf-8")
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert samples
    assert all('declared_by="codex"' in line for line in samples)
    assert not any(line.startswith("sashizu_cost_usd_total") for line in samples)


def test_lines_that_cannot_be_true_or_read_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "LONGEST_LINE", 4096)
    path = write(
        tmp_path / "bad.jsonl",
        codex("session_meta", id="a"),
        "{",
        "[1]",
        '"\\ud800"',
        "[" * 4000,
        json.dumps(used("big", 1) | {"x": "y" * 10_000}),
        used("negative", -1),
        used("huge", 10**13),
        codex("token_usage_record", usage={"input_tokens": True}),
        codex("token_usage_record", usage={"input_tokens": "1"}),
        codex("token_usage_record", usage=None),
        "",
        used("good", 1),
    )
    found = read_codex(path)
    (step,) = found.sessions["a"].steps
    assert isinstance(step, foreign.ModelCall)
    assert step.response_id == "good"
    assert found.skipped_lines == 10


def test_links_and_pipes_are_not_opened(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.jsonl", codex("session_meta", id="a"), used("r", 1))
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "link.jsonl").symlink_to(secret)
    os.mkfifo(tmp_path / "sessions" / "pipe.jsonl")
    found = read_codex(tmp_path / "sessions")
    assert (found.sessions, found.files, found.skipped_files) == ({}, 0, 2)


def test_threads_that_started_each_other_are_trees_of_their_own(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        meta = codex("session_meta", id=one, parent_thread_id=other)
        write(tmp_path / "round" / f"{one}.jsonl", meta, used(one, 1))
    done = imported(tmp_path / "audit", "codex", tmp_path / "round")
    assert (done.runs, done.sessions, done.tokens) == (2, 2, 6)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = ("id", "source", "usage", "info", "content", "call_id", "name", "model", "response_id")
KINDS = (
    *("session_meta", "turn_context", "token_usage_record", "event_msg", "response_item"),
    *("assistant", "user"),
)
PARTS = st.dictionaries(st.sampled_from((*NAMES, "type", "thread_id", "message")), JSON, max_size=6)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(KINDS),
                "payload": PARTS | JSON,
                "message": PARTS | JSON,
                "sessionId": st.just("s") | JSON,
                "timestamp": JSON | st.text(max_size=30),
                "ordinal": JSON,
                "agentId": JSON,
                "toolUseResult": PARTS | JSON,
            }
        ),
        max_size=6,
    )
)
def test_whatever_lines_hold_reading_goes_on(tmp_path: Path, lines: list[object]) -> None:
    path = write(tmp_path / "any.jsonl", codex("session_meta", id="a"), *lines)
    assert "a" in read_codex(path).sessions
    read_claude(path)


def test_sessions_are_imported_by_command_without_secrets(rollouts: Path, tmp_path: Path) -> None:
    key = "sk-proj-" + "a1B2" * 12
    write(
        rollouts / "secret.jsonl",
        codex("session_meta", id="leaky"),
        codex("response_item", type="function_call", name=key, call_id="c9"),
        "{",
    )
    (tmp_path / "audit").mkdir()
    words = ["import", "codex", str(rollouts), "--store", str(tmp_path / "audit")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "3 sessions in 2 runs: 3 model calls, 3 tool calls, 136 tokens, as codex declares them\n"
    )
    assert "1 of 17 lines could not be read" in done.stderr
    written = b"".join(path.read_bytes() for path in (tmp_path / "audit" / "hot").iterdir())
    assert key.encode() not in written
    again = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(again.stdout)["known"] == 3


def test_into_a_record_that_is_full_nothing_is_imported(rollouts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    (folder / "blobs").mkdir(parents=True)
    with (folder / "blobs" / "x").open("wb") as file:
        file.truncate(2 * 1024 * 1024)
    told = SimpleNamespace(settings=Settings({"audit": {"dir": str(folder), "quota_mib": 2}}))
    result = CliRunner().invoke(app, ["import", "codex", str(rollouts)], obj=told)
    assert isinstance(result.exception, RecordError)
    assert "nothing was imported" in str(result.exception)
    assert not (folder / "hot").exists()


def test_an_import_ends_when_the_record_is_full_and_the_next_one_goes_on(
    rollouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_MEASURED", 1)
    folder = tmp_path / "audit"
    roomy = WriterOptions(ballast_bytes=1024 * 1024 - 4096)  # what is written takes the rest
    with pytest.raises(RecordError, match="ended after 1 sessions"):
        import_sessions(folder, "codex", rollouts, roomy, unchanged, quota_mib=1)
    more = import_sessions(folder, "codex", rollouts, roomy, unchanged, quota_mib=2)
    assert (more.known, more.sessions) == (1, 1)


def test_unknown_programs_and_places_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", "codec", str(tmp_path)])
    assert "known: codex, claude" in str(result.exception)
    with pytest.raises(UsageError, match="name a file or a folder"):
        read_codex(tmp_path / "nothing")
