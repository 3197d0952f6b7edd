"""What it costs to take secrets out of texts and events.

    uv run python benchmarks/redaction_cost.py [--rounds 5]

MB/s of texts of several kinds, harmless and hostile, and microseconds an event, beside encoding the
same event as JSON. Every round runs all cases in shuffled order; medians.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _bench import ROOT, keep, parser, table
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.redaction import LiveText, Redactor

SIZE = 2_000_000
TOKEN = "ghp_" + "a1B2" * 9
KNOWN = [f"known-value-of-variable-{number:04d}" for number in range(8)]


def texts() -> dict[str, str]:
    sources = sorted((ROOT / "packages").glob("*/src/**/*.py"))
    code = "".join(Path(file).read_text("utf-8") for file in sources)
    prose = "".join(file.read_text("utf-8") for file in sorted((ROOT / "docs").rglob("*.md")))
    pieces = {
        "source code": code,
        "prose": prose,
        "not ASCII": "この関数は金額を足します。" * 50,
        "base64": "aB3dEfgh1" * 50,
        "a secret each 1,000": code[:960] + TOKEN + " ",
        "names of secrets": "token = secret password: ",
        "beginnings of tokens": "sk-ant- eyJ://a:ghp_ AKIA -----BEGIN ",
        "nothing but secrets": TOKEN + " ",
    }
    return {name: (text * (SIZE // len(text) + 1))[:SIZE] for name, text in pieces.items()}


def fresh_event(number: int) -> dict[str, Any]:
    """An event as a step makes it, about 200 bytes in what a redactor has to look at."""
    return {
        "step": number,
        "step_kind": "pure",
        "op": "execute_tool",
        "tool": "read_file",
        "tool_call_id": f"call_{number:024x}",
        "status": "ok",
        "duration_ns": 12_345 + number,
        "result_sha256": "ab" * 32,
        "bytes": 4096,
        "attrs": {"path": f"src/package/module_{number}.py", "reason": "x" * 100 + str(number)},
    }


def main() -> None:
    asked = parser(__doc__, rounds=5).parse_args()
    redactor = Redactor(KNOWN)
    context = {"run_id": new_run_id(), "agent_id": new_agent_id(), "agent_name": "reviewer"}
    cases: dict[str, Callable[[], float]] = {
        name: (lambda text=text: _seconds(lambda: redactor.counted(text)))
        for name, text in texts().items()
    }
    cases["streamed, 20 characters a piece"] = lambda: _stream(redactor, texts()["prose"])
    events = {
        "an event with new texts": lambda: _events(redactor.fields, context),
        "an event of known texts": lambda: _events(redactor.fields, context, same=True),
        "encoding it as JSON": lambda: _events(json.dumps, context),
    }
    found: dict[str, list[float]] = {name: [] for name in (*cases, *events)}
    for _ in range(asked.rounds):
        for name in random.sample(list(found), len(found)):
            found[name].append({**cases, **events}[name]())
    rows = [(name, SIZE / 1e6 / median(found[name])) for name in cases]
    table(f"Texts of {SIZE // 10**6} MB, medians of {asked.rounds} rounds", ("text", "MB/s"), rows)
    rows = [(name, median(found[name])) for name in events]
    table("Events", ("event", "us"), rows)
    keep(asked.json, found)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _stream(redactor: Redactor, text: str) -> float:
    live = LiveText(redactor, lambda _: None)
    pieces = [text[at : at + 20] for at in range(0, len(text), 20)]
    started = time.perf_counter()
    for piece in pieces:
        live.feed(piece)
    live.close()
    return time.perf_counter() - started


def _events(
    call: Callable[[dict[str, Any]], object], context: dict[str, Any], *, same: bool = False
) -> float:
    """Microseconds an event."""
    begin = random.randrange(10**9)
    events = [{**context, **fresh_event(begin if same else begin + n)} for n in range(2000)]
    started = time.perf_counter()
    for event in events:
        call(event)
    return (time.perf_counter() - started) / len(events) * 1e6


if __name__ == "__main__":
    main()
