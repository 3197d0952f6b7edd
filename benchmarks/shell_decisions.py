"""How long the tool `shell` takes to decide: parse a line, find its programs, judge what it asks.

    uv run python benchmarks/shell_decisions.py [--rounds 20] [--json]

Every line of the harmless and the hostile collection is decided on in turn, in shuffled order, as a
call of the tool would be: from the JSON text that a model wrote to the engine's answer.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns

from sashizu_core.errors import ToolError
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import authorize
from sashizu_core.protocols import ToolContext
from sashizu_core.workspace import Workspace
from sashizu_sandbox.shell.tables import TABLES
from sashizu_sandbox.shell.tool import Shell

CORPUS = Path(__file__).parent.parent / "packages/sandbox/tests/shell_corpus"
LIMIT_MS = 0.5


def lines(name: str) -> Iterator[str]:
    for source in tomllib.loads((CORPUS / name).read_text("utf-8"))["source"]:
        yield from (source.get("after", "") + command for command in source["commands"])


def measure(shell: Shell, workspace: Workspace, texts: list[str], rounds: int) -> list[float]:
    """Milliseconds of each decision."""
    grants = Grants(tools=None, fs_read=(".",), fs_write=(".",), exec=("*",))
    subject = Subject("agent", "bench", (grants,))
    context = ToolContext("agent", "bench", "run", workspace)
    took = []
    for round_ in range(rounds + 1):
        random.shuffle(texts)
        for text in texts:
            started = perf_counter_ns()
            with suppress(ToolError):
                authorize(shell.requests(shell.parse(text), context), subject)
            if round_:  # the first round finds the programs
                took.append((perf_counter_ns() - started) / 1e6)
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as folder:
        for name in TABLES:
            if name != ".":
                (Path(folder) / name).write_text("#!/bin/sh\n")
                (Path(folder) / name).chmod(0o755)
        with Workspace.open(root) as workspace:
            for kind in ("harmless", "attacks"):
                texts = [json.dumps({"command": line}) for line in lines(f"{kind}.toml")]
                took = measure(Shell(folder), workspace, texts, options.rounds)
                centiles = statistics.quantiles(took, n=100)
                found[kind] = {
                    "lines": len(texts),
                    "median_ms": round(statistics.median(took), 4),
                    "p99_ms": round(centiles[98], 4),
                }
    if options.json:
        print(json.dumps(found))
    else:
        for kind, row in found.items():
            print(
                f"{kind}: {row['lines']} lines, median {row['median_ms']:.3f} ms, "
                f"99 of 100 below {row['p99_ms']:.3f} ms"
            )
    return int(any(row["median_ms"] > LIMIT_MS for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
