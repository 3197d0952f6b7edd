"""What an event costs that is written to the record, beside a row in SQLite.

    uv run python benchmarks/audit_write.py [--rounds 5]

The same fields, on the same disk. The record is hash-chained and
survives `kill -9`, as a SQLite commit in WAL mode does.
"""

from __future__ import annotations

from _bench import Lab, child, keep, median, parser, table


def main() -> None:
    asked = parser(__doc__, rounds=5).parse_args()
    lab = Lab(asked.lab)
    found = [child(lab.ours(), "agents/audit_writes.py", lab.folder) for _ in range(asked.rounds)]
    base = median(found, "SQLite WAL, one row")
    rows = [(name, median(found, name), median(found, name) / base) for name in found[0]]
    table(f"One event, medians of {asked.rounds} rounds", ("write", "us", "x SQLite"), rows)
    keep(asked.json, {"rounds": found})


if __name__ == "__main__":
    main()
