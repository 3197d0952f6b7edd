"""Traces of runs, read back with the messages that OpenTelemetry publishes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from sashizu_audit import AuditWriter
from sashizu_audit.export import export_record
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

RUN, OTHER = uuid7(now_ms=1), uuid7(now_ms=2)  # of one moment, in the order of their ids
LEAD, CHILD = uuid7(), uuid7()
TRACE, SPAN, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
OF_LEAD = "53995c3f42cd8ad8"
BEYOND_DOUBLES = 2**53 + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("record") / "audit"
    ids = {"trace_id": TRACE, "span_id": SPAN, "parent_span_id": ABOVE}
    own = {"trace_id": TRACE, "span_id": OF_LEAD, "parent_span_id": SPAN}
    lead = {"run_id": RUN, "agent_id": LEAD, "agent_name": "lead", **own}
    child = {"run_id": RUN, "agent_id": CHILD, "agent_name": "chïld", "parent_agent_id": LEAD}
    usage = {"input_tokens": BEYOND_DOUBLES, "output_tokens": 2, "tokens": 9, "cost_nusd": 5}
    call = {"step": 0, "provider": "p", "model": "m"}
    tool = {"step": 1, "tool": "read", "tool_call_id": "c1"}
    events = [
        Event("run.started", {"run_id": RUN, **ids}),
        Event("agent.started", {**lead, "model": "m"}),
        Event("model.requested", {**lead, **call}),
        Event("model.answered", {**lead, **call, **usage, "status": "ok", "duration_ns": 7}),
        Event("tool.requested", {**lead, **tool}),
        Event("tool.decided", {**lead, **tool, "decision": "deny", "decided_by": "rule"}),
        Event("agent.started", {**child}),
        Event("model.requested", {**child, **call}),
        Event("agent.ended", {**lead, "status": "ok", "duration_ns": 20}),
        Event("run.ended", {"run_id": RUN, "status": "ok", "duration_ns": 30}),
        Event("run.started", {"run_id": OTHER, "trace_id": "no id", "span_id": "0" * 16}),
    ]
    with AuditWriter(place, options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write(events)
    return place


def read(path: Path) -> list[TracesData]:
    """Read strictly as the published mapping has it, but for ids: OTLP has hexadecimal ones."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        data = json.loads(line)
        for resource in data["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    for name in {"traceId", "spanId", "parentSpanId"} & set(span):
                        raw = bytes.fromhex(span[name])
                        span[name] = base64.b64encode(raw).decode()
        found.append(json_format.ParseDict(data, TracesData()))
    return found


def spans(traces: TracesData) -> list[Span]:
    return [s for r in traces.resource_spans for scope in r.scope_spans for s in scope.spans]


def told(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@pytest.fixture(scope="module")
def traces(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[TracesData]:
    place = tmp_path_factory.mktemp("copies") / "copy"
    export_record(folder, place, "otlp")
    return read(place / "traces.jsonl")


def test_one_run_is_one_trace_with_the_ids_on_record(traces: list[TracesData]) -> None:
    first, second = traces
    assert {span.trace_id.hex() for span in spans(first)} == {TRACE}
    (other,) = spans(second)
    assert len(other.trace_id) == 16
    assert len(other.span_id) == 8
    assert any(other.span_id)
    assert other.trace_id.hex() != TRACE


def test_every_span_hangs_beneath_the_one_that_made_it(traces: list[TracesData]) -> None:
    found = spans(traces[0])
    names = {span.span_id: span.name for span in found}
    assert len(names) == len(found) == 6
    beneath = {(span.name, names.get(span.parent_span_id, "caller")) for span in found}
    assert beneath == {
        ("invoke_workflow", "caller"),
        ("invoke_agent lead", "invoke_workflow"),
        ("invoke_agent chïld", "invoke_agent lead"),
        ("chat m", "invoke_agent lead"),
        ("chat m", "invoke_agent chïld"),
        ("execute_tool read", "invoke_agent lead"),
    }
    (root,) = [span for span in found if span.name == "invoke_workflow"]
    assert (root.span_id.hex(), root.parent_span_id.hex()) == (SPAN, ABOVE)
    (lead,) = [span for span in found if span.name == "invoke_agent lead"]
    assert lead.span_id.hex() == OF_LEAD


def test_usage_is_on_calls_of_models_only_and_exact(traces: list[TracesData]) -> None:
    with_usage = [
        (span.name, told(span)["gen_ai.usage.input_tokens"])
        for span in spans(traces[0])
        if any(key.startswith("gen_ai.usage.") for key in told(span))
    ]
    assert with_usage == [("chat m", BEYOND_DOUBLES)]


def test_spans_say_how_long_and_how_it_ended(traces: list[TracesData]) -> None:
    by_name = {span.name: span for span in spans(traces[0])}
    root, tool = by_name["invoke_workflow"], by_name["execute_tool read"]
    assert root.end_time_unix_nano - root.start_time_unix_nano == 30
    assert (root.kind, root.status.code) == (Span.SPAN_KIND_INTERNAL, Status.STATUS_CODE_OK)
    assert by_name["chat m"].kind == Span.SPAN_KIND_CLIENT
    assert (tool.status.code, tool.status.message) == (Status.STATUS_CODE_ERROR, "denied")
    assert told(tool)["sashizu.decision"] == "deny"
    assert told(tool)["gen_ai.tool.call.id"] == "c1"
    child = by_name["invoke_agent chïld"]
    assert child.status.code == Status.STATUS_CODE_UNSET
    assert child.end_time_unix_nano == child.start_time_unix_nano


def test_the_same_run_gets_the_same_ids_again(
    folder: Path, tmp_path: Path, traces: list[TracesData]
) -> None:
    export_record(folder, tmp_path / "copy", "otlp", run_id=RUN)
    (again,) = read(tmp_path / "copy" / "traces.jsonl")
    assert again == traces[0]


def test_what_only_repeats_another_run_is_not_told_again(tmp_path: Path) -> None:
    """As in live traces: a replay has no trace, a resumed run has what it did anew."""
    resumed, replay, done, goes_on = (uuid7() for _ in range(4))
    of = {"replay_of": RUN}
    call = {"provider": "p", "model": "m"}
    usage = {**call, "input_tokens": 7, "tokens": 7, "status": "ok"}
    first = {"run_id": resumed, "agent_id": done, "agent_name": "done"}
    second = {"run_id": resumed, "agent_id": goes_on, "agent_name": "goes on"}
    again = {"run_id": replay, "agent_id": uuid7(), "agent_name": "again", **of}
    events = [
        Event("run.started", {"run_id": resumed}),
        Event("agent.started", {**first, **of}),
        Event("model.requested", {**first, **of, **call, "step": 0}),
        Event("model.answered", {**first, **of, **usage, "step": 0}),
        Event("agent.ended", {**first, **of, "status": "ok"}),
        Event("agent.started", {**second, **of}),
        Event("model.requested", {**second, **of, **call, "step": 0}),
        Event("model.answered", {**second, **of, **usage, "step": 0}),
        Event("model.requested", {**second, **call, "step": 1}),
        Event("model.answered", {**second, **usage, "step": 1}),
        Event("agent.ended", {**second, "status": "ok"}),
        Event("run.ended", {"run_id": resumed, "status": "ok"}),
        Event("run.started", {"run_id": replay, **of}),
        Event("agent.started", again),
        Event("model.requested", {**again, **call, "step": 0}),
        Event("model.answered", {**again, **usage, "step": 0}),
        Event("run.ended", {"run_id": replay, "status": "ok", **of}),
    ]
    with AuditWriter(tmp_path / "audit", options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write(events)
    export_record(tmp_path / "audit", tmp_path / "copy", "otlp")
    (only,) = read(tmp_path / "copy" / "traces.jsonl")
    assert [span.name for span in spans(only)] == [
        "invoke_workflow",
        "invoke_agent goes on",
        "chat m",
    ]
    assert told(spans(only)[2])["sashizu.step"] == 1
