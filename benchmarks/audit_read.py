"""A large record: sealing, checking, and five questions beside a native file of DuckDB.

    uv run python benchmarks/audit_read.py [--events 1000000] [--rounds 5]

Ten million events take some gigabytes in --lab, and half an hour.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from _bench import Lab, child, keep, median, parser, table

PROGRAM = "agents/audit_reads.py"


def main() -> None:
    asking = parser(__doc__, rounds=5)
    asking.add_argument("--events", type=int, default=1_000_000)
    asked = asking.parse_args()
    lab = Lab(asked.lab)
    python = lab.ours()
    place = Path(tempfile.mkdtemp(dir=lab.folder))
    try:
        steps = {"fill": child(python, PROGRAM, "fill", place, asked.events)}
        rows = [row_of("written", steps["fill"])]
        for step in ("seal", "verify", "snapshot"):
            steps[step] = child(python, PROGRAM, step, place)
            rows.append(row_of(step, steps[step]))
        title = f"{steps['fill']['events']:,} events"
        table(title, ("step", "s", "events/s", "MB at most"), rows)
        sealed = steps["seal"]["packed"] + sum(
            path.stat().st_size for path in (place / "audit/parquet").rglob("*.parquet")
        )
        print(f"\nsealed and tables: {sealed / steps['seal']['events']:.0f} bytes an event")
        rounds = [child(python, PROGRAM, "ask", place) for _ in range(asked.rounds)]
    finally:
        shutil.rmtree(place)
    names = [name for name, one in rounds[0].items() if isinstance(one, dict)]
    ours = {name: median([one[name]["record"] for one in rounds]) for name in names}
    native = {name: median([one[name]["native"] for one in rounds]) for name in names}
    found = [(n, 1000 * ours[n], 1000 * native[n], ours[n] / native[n]) for n in names]
    head = ("question", "record, ms", "DuckDB file, ms", "x")
    table(f"Medians of {asked.rounds} rounds, asked in turns", head, found)
    keep(asked.json, {"steps": steps, "rounds": rounds})


def row_of(name: str, step: dict[str, float]) -> tuple[str, float, float, float]:
    return name, step["seconds"], step["events"] / step["seconds"], step["peak_mb"]


if __name__ == "__main__":
    main()
