"""The binary form of OTLP. Needs the extra `otel`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["encode"]

_IDS = ("traceId", "spanId", "parentSpanId")


def encode(data: Mapping[str, Any]) -> bytes:
    """A request of this `TracesData`: its ids are hexadecimal, where the library reads base64."""
    resources = []
    for resource in data["resourceSpans"]:
        scopes = [
            {**scope, "spans": [_with_bytes(span) for span in scope["spans"]]}
            for scope in resource["scopeSpans"]
        ]
        resources.append({**resource, "scopeSpans": scopes})
    request = json_format.ParseDict({"resourceSpans": resources}, ExportTraceServiceRequest())
    return bytes(request.SerializeToString())


def _with_bytes(span: Mapping[str, Any]) -> dict[str, Any]:
    ids = {
        name: base64.b64encode(bytes.fromhex(span[name])).decode() for name in _IDS if name in span
    }
    return {**span, **ids}
