"""What an event costs that is written to the record, beside a row in SQLite.

    uv run python benchmarks/audit_write.py [--rounds 5]

The same fields, on the same disk. The record is hash-chained and survives `kill -9`, as a SQLite
commit in WAL mode does. One writer alone; then 1, 4 and 16 processes at once, with events of 24
columns and about 900 bytes, while another process asks. What SQLite is given there: the columns of
the event; with all that a line of the record has besides; and with an id that is unique.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from _bench import HERE, Lab, child, interleaved, keep, median, parser, table

WRITERS = (1, 4, 16)
KINDS = ("record", "row", "line", "key")
SECONDS = 2.0


def at_once(python: Path, lab: Path, kind: str, writers: int) -> dict[str, float]:
    """So many processes write; the median over them of the median of each, and events in all."""
    folder = Path(tempfile.mkdtemp(dir=lab))
    try:
        prepare = "import sys; from pathlib import Path; import audit_writers as a; "
        prepare += "a.prepare(Path(sys.argv[1]))"
        agents = HERE / "agents"
        subprocess.run([str(python), "-c", prepare, str(folder)], cwd=agents, check=True)
        start = time.time() + 1.0 + writers * 0.25
        words = [str(python), str(agents / "audit_writers.py"), kind, str(folder)]
        started = [
            subprocess.Popen([*words, str(start), str(SECONDS)], stdout=subprocess.PIPE, text=True)
            for _ in range(writers)
        ]
        words[2] = f"read-{kind}"
        with subprocess.Popen([*words, str(start), str(SECONDS)]):
            found = [json.loads(process.communicate()[0]) for process in started]
    finally:
        shutil.rmtree(folder)
    return {
        "p50": statistics.median(one["p50"] for one in found),
        "p99": statistics.median(one["p99"] for one in found),
        "rate": sum(one["n"] for one in found) / SECONDS,
        "least": min(one["n"] for one in found) * writers / max(1, sum(o["n"] for o in found)),
    }


def main() -> None:
    asked = parser(__doc__, rounds=5).parse_args()
    lab = Lab(asked.lab)
    python = lab.ours()
    alone = [child(python, "agents/audit_writes.py", lab.folder) for _ in range(asked.rounds)]
    base = median(alone, "SQLite WAL, one row")
    rows = [(name, median(alone, name), median(alone, name) / base) for name in alone[0]]
    table(f"One event, medians of {asked.rounds} rounds", ("write", "us", "x SQLite"), rows)
    cases = {
        f"{kind} {writers}": partial(at_once, python, lab.folder, kind, writers)
        for writers in WRITERS
        for kind in KINDS
    }
    found = interleaved(cases, asked.rounds)
    figures = {name: {key: median(one, key) for key in one[0]} for name, one in found.items()}
    shown = []
    for writers in WRITERS:
        ours = figures[f"record {writers}"]
        for kind in KINDS[1:]:
            theirs = figures[f"{kind} {writers}"]
            one = (ours["p50"], theirs["p50"], ours["p50"] / theirs["p50"])
            one += (ours["p99"], theirs["p99"], ours["rate"], theirs["rate"], ours["least"])
            shown.append((writers, kind, *one))
    head = ("writers", "SQLite has", "record p50, us", "SQLite p50, us", "x", "record p99")
    head += ("SQLite p99", "record, events/s", "SQLite, events/s", "least / mean")
    table("Writers at once, as fast as each can", head, shown)
    keep(asked.json, {"alone": alone, "at once": found})


if __name__ == "__main__":
    main()
