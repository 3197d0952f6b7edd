"""One step of the life of a large record: fill, seal, verify, snapshot or ask. Prints JSON.

python audit_reads.py fill|seal|verify|snapshot|ask PLACE [EVENTS]
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.canned import find_canned
from sashizu_audit.sealing import seal_record
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer_lines import Clock
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

DAYS = 29
AGENTS, CALLS = 4, 7
QUESTIONS = ("cost-by-agent", "latency", "denied", "overruns", "trees")
TOOLS = ("read_file", "grep", "shell", "write_file", "analyze")
A_RUN = 2 + AGENTS * (2 + 7 * CALLS)


def a_run(number: int) -> list[Event]:
    """What a run of four agents, three beneath the first, writes: 206 events."""
    run = {"run_id": uuid7(), "project": f"p{number % 9}", "actor": "user:me"}
    ids = [uuid7() for _ in range(AGENTS)]
    found = [Event("run.started", {**run, "budget_limit": 60_000})]
    for place, agent_id in enumerate(ids):
        agent = {**run, "agent_id": agent_id, "agent_name": f"agent{(number + place) % 20}"}
        if place:
            agent["parent_agent_id"] = ids[0]
        depth = min(place, 1)
        found.append(Event("agent.started", {**agent, "depth": depth, "model": "m"}))
        for call in range(CALLS):
            found += a_step(agent, 2 * call, number + place + call)
        attrs = {"steps": CALLS, "tokens": 1290, "artifacts": []}
        found.append(Event("agent.ended", {**agent, "status": "ok", "attrs": attrs}))
    return [*found, Event("run.ended", {**run, "status": "ok", "budget_spent": 36_000})]


def a_step(agent: dict[str, Any], step: int, number: int) -> Iterator[Event]:
    model = {"step": step, "provider": "openai", "model": f"openai/gpt-5.{number % 4}"}
    budget = {"step": step, "budget_id": "run", "budget_unit": "tokens", "budget_limit": 60_000}
    failed = number % 31 == 0
    usage = {"input_tokens": 1234, "output_tokens": 56, "tokens": 1290, "cost_nusd": 81_234}
    took = 10**9 + number * 7919 % 10**9
    ended = {"status": "error", "error_type": "rate_limit"} if failed else {"status": "ok", **usage}
    tool = {"step": step + 1, "tool": TOOLS[number % 5], "tool_call_id": f"call_{number}"}
    denied = number % 23 == 0
    yield Event("budget.held", {**agent, **budget, "budget_held": 9_000})
    yield Event("model.requested", {**agent, **model, "op": "chat"})
    kind = "model.failed" if failed else "model.answered"
    yield Event(kind, {**agent, **model, **ended, "duration_ns": took})
    kind = "budget.overrun" if number % 97 == 0 else "budget.settled"
    attrs = {"nusd": 81_234, "in_doubt": False}
    yield Event(kind, {**agent, **budget, "budget_spent": 1290, "attrs": attrs})
    arguments = {"args": {"path": f"src/module{number % 300}.py", "limit": number % 50}}
    yield Event("tool.requested", {**agent, **tool, "args_sha256": "a" * 64, "attrs": arguments})
    decided = {"decision": "deny" if denied else "allow", "decided_by": "rule"}
    yield Event("tool.decided", {**agent, **tool, **decided, "decision_rule": "fs.read: src/**"})
    status = "denied" if denied else "ok"
    yield Event("tool.ended", {**agent, **tool, "status": status, "duration_ns": took // 9})


def fill(place: Path, events: int) -> dict[str, Any]:
    """Write so many events or a few more, spread over the last weeks."""
    begun = time.time_ns() - DAYS * 86_400 * 10**9
    each = DAYS * 86_400 * 10**9 // (events // A_RUN + 1)
    now = [0]
    clock = Clock(lambda: begun + now[0], lambda: now[0])
    options = WriterOptions(segment_s=10**9)
    written = number = 0
    while written < events:
        with AuditWriter(place / "audit", options=options, clock=clock) as writer:
            for _ in range(5_000):  # as processes come and go
                found = a_run(number)
                writer.write(found)
                written, number = written + len(found), number + 1
                now[0] += each
                if written >= events:
                    break
    return {"events": written}


def seal(place: Path) -> dict[str, Any]:
    report = seal_record(place / "audit")
    assert report is not None
    assert not report.left
    return {"events": report.events, "raw": report.raw_bytes, "packed": report.bytes}


def verify(place: Path) -> dict[str, Any]:
    report = verify_record(place / "audit")
    assert report.exit_code == 0
    return {"events": report.events}


def snapshot(place: Path) -> dict[str, Any]:
    path = place / "native.duckdb"
    events = AuditStore(place / "audit").write_snapshot(path)
    return {"events": events, "bytes": path.stat().st_size}


def ask(place: Path) -> dict[str, Any]:
    """Seconds of each question, asked of the record and of a native file, after a first round."""
    found: dict[str, Any] = {}
    store = AuditStore(place / "audit")
    for round_ in range(2):
        for name in QUESTIONS:
            canned = find_canned(name)
            values = canned.values([], str)
            begun = time.perf_counter()
            ours = store.query(canned.sql, values, limit=1_000_000, timeout_s=600).rows
            middle = time.perf_counter()
            connection = duckdb.connect(str(place / "native.duckdb"), read_only=True)
            native = connection.execute(canned.sql, dict(values)).fetchall()
            connection.close()
            end = time.perf_counter()
            assert len(ours) == len(native) > 0, (name, len(ours), len(native))
            if round_:
                found[name] = {"record": middle - begun, "native": end - middle}
    return found


STEPS = {"seal": seal, "verify": verify, "snapshot": snapshot, "ask": ask}


def main() -> None:
    step, place = sys.argv[1], Path(sys.argv[2])
    begun = time.perf_counter()
    found = fill(place, int(sys.argv[3])) if step == "fill" else STEPS[step](place)
    found["seconds"] = time.perf_counter() - begun
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
