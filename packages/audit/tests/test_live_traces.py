"""Spans of runs as they end, received by a small OTLP service; and where there is none."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import ValidationError
from sashizu_audit import AuditWriter
from sashizu_audit.export import export_record
from sashizu_audit.live_spans import LiveSpans
from sashizu_audit.otel import OtelSink, open_otel
from sashizu_audit.otel_sending import Sender
from sashizu_audit.otel_settings import OtelSettings
from sashizu_audit.plugin import register_sinks
from sashizu_audit.settings import AuditSettings
from sashizu_audit.spool import WriterOptions
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from sashizu_core.settings import Settings

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OF_LEAD = "00f067aa0ba902b7"
RUN, LEAD, CHILD = uuid7(), uuid7(), uuid7()


@dataclass
class Service:
    """What a service of OpenTelemetry was sent; answers what it is told to."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    body: bytes = b"{}"
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def read(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """Read strictly as the published mapping has it, but for ids: OTLP has hexadecimal ones."""
    if content_type == "application/x-protobuf":
        return ExportTraceServiceRequest.FromString(body)
    data = json.loads(body)
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & set(span):
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(data, ExportTraceServiceRequest())


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.answers.pop(0) if found.answers else 200
            if status == 200:
                found.requests.append(read(body, self.headers["Content-Type"]))
            found.headers.append(dict(self.headers))
            found.paths.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(found.body)
            found.arrived.release()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def a_run(*, blobs: Sequence[str] = ()) -> list[Event]:
    ids = {"run_id": RUN, "project": "shop", "trace_id": TRACE, "span_id": SPAN}
    lead = {"agent_id": LEAD, "agent_name": "lead", "span_id": OF_LEAD, "parent_span_id": SPAN}
    child = {"agent_id": CHILD, "agent_name": "chïld \udcff", "parent_agent_id": LEAD}
    lead, child = {**ids, **lead}, {**ids, **child, "span_id": None, "parent_span_id": OF_LEAD}
    usage = {"input_tokens": 2**53 + 1, "output_tokens": 2, "tokens": 9, "cost_nusd": 5}
    call, tool = {"step": 0, "provider": "p", "model": "m"}, {"step": 1, "tool": "read"}
    asked, told = ({"blobs": [one]} for one in blobs) if blobs else ({}, {})
    return [
        Event("run.started", ids),
        Event("agent.started", {**lead, "model": "m"}),
        Event("model.requested", {**lead, **call}),
        Event("model.failed", {**lead, **call, "status": "error", "error_type": "rate_limit"}),
        Event("model.requested", {**lead, **call}),
        Event("model.answered", {**lead, **call, **usage, "status": "ok", "duration_ns": 7}),
        Event("tool.requested", {**lead, **tool, **asked}),
        Event("tool.decided", {**lead, **tool, "decision": "allow", "decided_by": "rule"}),
        Event("tool.ended", {**lead, **tool, **told, "status": "ok", "duration_ns": 3}),
        Event("agent.started", child),
        Event("tool.requested", {**child, **tool}),
        Event("tool.decided", {**child, **tool, "decision": "deny", "decided_by": "default"}),
        Event("model.requested", {**child, "step": 2, "model": "m"}),
        Event("agent.ended", {**child, "status": "error", "error_type": "x", "duration_ns": 4}),
        Event("agent.ended", {**lead, "status": "ok", "duration_ns": 20}),
        Event("run.ended", {**ids, "status": "ok", "duration_ns": 30}),
    ]


async def sent(settings: OtelSettings, folder: Path, events: Sequence[Event]) -> None:
    async with open_otel(settings, folder) as sink:
        for event in events:
            sink.write([event])


def told(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
async def test_a_run_arrives_as_one_trace_with_its_tree_and_usage_on_leaves(
    service: Service, tmp_path: Path, protocol: str
) -> None:
    settings = OtelSettings.model_validate(
        {"endpoint": service.url, "protocol": protocol, "resource": {"team": "pay"}}
    )
    await sent(settings, tmp_path, a_run())
    assert set(service.paths) == {"/v1/traces"}
    assert {span.trace_id.hex() for span in service.spans} == {TRACE}
    names = {span.span_id: span.name for span in service.spans}
    assert len(names) == len(service.spans) == 8
    beneath = sorted((s.name, names.get(s.parent_span_id, "nobody")) for s in service.spans)
    child = "invoke_agent chïld \\udcff"
    assert beneath == [
        ("chat m", child),
        ("chat m", "invoke_agent lead"),
        ("chat m", "invoke_agent lead"),
        ("execute_tool read", child),
        ("execute_tool read", "invoke_agent lead"),
        (child, "invoke_agent lead"),
        ("invoke_agent lead", "invoke_workflow"),
        ("invoke_workflow", "nobody"),
    ]
    usage = [told(s) for s in service.spans if any("usage" in key for key in told(s))]
    assert [one["gen_ai.usage.input_tokens"] for one in usage] == [2**53 + 1]
    by_name = {(s.name, names.get(s.parent_span_id)): s for s in service.spans}
    denied = by_name["execute_tool read", child]
    assert (denied.status.code, denied.status.message) == (Status.STATUS_CODE_ERROR, "denied")
    root = by_name["invoke_workflow", None]
    assert (root.span_id.hex(), root.end_time_unix_nano - root.start_time_unix_nano) == (SPAN, 30)
    (resource,) = {str(r.resource) for q in service.requests for r in q.resource_spans}
    assert all(word in resource for word in ("sashizu", "shop", "team", "pay", "service.version"))


async def test_live_spans_have_the_ids_that_an_export_has(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    with AuditWriter(folder, options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write(a_run())
    await sent(OtelSettings(endpoint=service.url), folder, a_run())
    export_record(folder, tmp_path / "copy", "otlp")
    exported = read((tmp_path / "copy/traces.jsonl").read_bytes(), "application/json")
    (scope,) = exported.resource_spans[0].scope_spans
    assert {(s.span_id, s.parent_span_id) for s in scope.spans} == {
        (s.span_id, s.parent_span_id) for s in service.spans
    }


async def test_spans_are_sent_while_the_run_goes_on(service: Service, tmp_path: Path) -> None:
    async with open_otel(OtelSettings(endpoint=service.url), tmp_path) as sink:
        sink.write(a_run()[:6])
        assert service.arrived.acquire(timeout=60)
        assert [span.name for span in service.spans][:1] == ["chat m"]
    assert {span.name for span in service.spans} >= {"invoke_workflow", "invoke_agent lead"}
    unfinished = [s for s in service.spans if s.name == "invoke_workflow"]
    assert unfinished[0].status.code == Status.STATUS_CODE_UNSET


async def test_no_text_is_told_unless_it_is_asked_for_and_kept(
    service: Service, tmp_path: Path
) -> None:
    options = WriterOptions(ballast_bytes=0, content="blobs")
    with AuditWriter(tmp_path, options=options) as writer:
        kept = [writer.keep('{"path": "a"}') or "", writer.keep("what it said") or ""]
    await sent(OtelSettings(endpoint=service.url), tmp_path, a_run(blobs=kept))
    assert not any("what it said" in str(span) for span in service.spans)
    service.requests.clear()
    await sent(OtelSettings(endpoint=service.url, content=True), tmp_path, a_run(blobs=kept))
    (tool,) = [told(s) for s in service.spans if "gen_ai.tool.call.result" in told(s)]
    assert tool["gen_ai.tool.call.arguments"] == '{"path": "a"}'
    assert tool["gen_ai.tool.call.result"] == "what it said"
    with pytest.raises(ValidationError, match='needs content = "blobs"'):
        AuditSettings.model_validate({"content": "hashes", "otel": {"content": True}})


def test_messages_of_models_are_told_in_the_form_of_the_conventions() -> None:
    texts = {
        "a": "What is it?",
        "b": json.dumps({"content": "It", "tool_calls": [["1", "f", "{}"]]}),
    }
    spans = LiveSpans(texts.get)
    ids = {"run_id": RUN, "agent_id": LEAD, "step": 0}
    assert list(spans.take(Event("model.requested", {**ids, "blobs": ["a", "z"]}), 1)) == []
    ((_, span),) = spans.take(Event("model.answered", {**ids, "blobs": ["b"], "status": "ok"}), 2)
    found = {one["key"]: one["value"].get("stringValue") for one in span["attributes"]}
    part = {"type": "text", "content": "What is it?"}
    assert json.loads(found["gen_ai.input.messages"]) == [{"role": "user", "parts": [part]}]
    (answer,) = json.loads(found["gen_ai.output.messages"])
    assert [part["type"] for part in answer["parts"]] == ["text", "tool_call"]


# --- services that do not answer ------------------------------------------------------------------


async def test_headers_come_from_the_environment(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_HEADERS", "Authorization=Bearer%20x, X-Team=a,bad,evil=a%0d%0ab: c")
    settings = OtelSettings(endpoint=f"{service.url}/else/where", headers_env="MY_HEADERS")
    await sent(settings, tmp_path, a_run())
    assert service.headers[0]["Authorization"] == "Bearer x"
    assert service.headers[0]["X-Team"] == "a"
    assert "evil" not in service.headers[0]
    assert service.paths[0] == "/else/where"


async def test_a_service_that_is_busy_is_asked_again(service: Service, tmp_path: Path) -> None:
    service.answers = [503]
    async with open_otel(OtelSettings(endpoint=service.url), tmp_path) as sink:
        sink.write(a_run())
        assert service.arrived.acquire(timeout=60)
        assert service.arrived.acquire(timeout=60)
    assert len(service.spans) == 8


@pytest.mark.parametrize(("status", "said"), [(400, "answered 400"), (404, "answered 404")])
async def test_a_service_that_refuses_fails_no_run_and_it_is_said(
    service: Service,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    status: int,
    said: str,
) -> None:
    service.answers = [status] * 9
    with caplog.at_level(logging.WARNING):
        await sent(OtelSettings(endpoint=service.url), tmp_path, a_run())
    (record,) = caplog.records
    assert "8 of 8 spans were not sent to http://127.0.0.1" in record.message
    assert said in record.message


async def test_a_service_that_is_not_there_fails_no_run_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await sent(OtelSettings(endpoint="http://127.0.0.1:1"), tmp_path, a_run())
    assert "8 of 8 spans were not sent" in caplog.text
    assert "refused" in caplog.text


async def test_spans_that_the_service_did_not_take_are_counted(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.body = b'{"partialSuccess": {"rejectedSpans": "3"}}'
    with caplog.at_level(logging.WARNING):
        await sent(OtelSettings(endpoint=service.url), tmp_path, a_run())
    assert "3 of 8 spans were not sent" in caplog.text
    assert "rejected" in caplog.text


def test_a_service_that_never_answers_holds_nobody_up() -> None:
    let_go = threading.Event()

    def post(body: bytes) -> tuple[int, bytes]:
        let_go.wait()
        return 200, b""

    sender = Sender(post, lambda data: b"", {}, most=10)
    sink = OtelSink(sender)
    for _ in range(5):
        sink.write(a_run())
    sink.end()
    result = sender.end(0.0)
    let_go.set()
    assert (result.sent, result.lost) == (0, 40)


def test_what_cannot_be_made_a_span_stops_nothing() -> None:
    sender = Sender(lambda body: (200, b""), lambda data: b"", {}, most=100)
    sink = OtelSink(sender)
    sink.write([Event("agent.started", {"agent_id": ["no", "id"]})])
    sink.write([Event("agent.started", {"run_id": RUN, "agent_id": LEAD})])
    sink.write([Event("agent.ended", {"run_id": RUN, "agent_id": LEAD, "duration_ns": "long"})])
    sink.write([Event("model.answered", {"step": 3}), Event("tool.decided", {})])
    sink.end()
    result = sender.end(60.0)
    assert result.lost == 2
    assert "could not be made" in result.reason


# --- settings -------------------------------------------------------------------------------------


def test_without_an_endpoint_there_is_no_such_sink() -> None:
    assert [spec.name for spec in register_sinks(Settings({}))] == ["audit"]
    told = Settings({"audit": {"otel": {"endpoint": "http://localhost:4318"}}})
    assert [spec.name for spec in register_sinks(told)] == ["audit", "otel"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4318",
        "ftp://a",
        "http://",
        "http://u:p@a",
        "http://a?b",
        "http://a b",
        "http://a:x",
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(SashizuError, match="it has to be http"):
        register_sinks(Settings({"audit": {"otel": {"endpoint": endpoint}}}))


async def test_what_is_not_installed_is_named(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sashizu_audit.otlp_protobuf", None)
    settings = OtelSettings(endpoint=service.url, protocol="http/protobuf")
    with pytest.raises(UsageError, match=r"sashizu-audit\[otel\]"):
        await sent(settings, tmp_path, [])


def test_what_is_made_again_from_a_record_is_not_told_of_once_more() -> None:
    spans = LiveSpans()
    again = {"run_id": RUN, "agent_id": LEAD, "agent_name": "lead", "replay_of": str(CHILD)}
    live = {"run_id": RUN, "agent_id": CHILD, "agent_name": "child"}
    call = {"step": 0, "step_kind": "model", "op": "chat", "model": "m", "status": "ok"}
    told = [
        *spans.take(Event("agent.started", again), 1),
        *spans.take(Event("model.requested", {**again, **call}), 2),
        *spans.take(Event("model.answered", {**again, **call, "tokens": 9}), 3),
        *spans.take(Event("agent.ended", {**again, "status": "ok"}), 4),
        *spans.take(Event("agent.started", {**live, "replay_of": str(LEAD)}), 5),
        *spans.take(Event("agent.ended", {**live, "status": "ok"}), 6),
        *spans.end_all(),
    ]
    assert [row["run_id"] for row, _ in told] == [RUN]
    assert [span["name"] for _, span in told] == ["invoke_agent child"]
