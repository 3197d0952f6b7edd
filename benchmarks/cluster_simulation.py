"""A thousand workers and a million agents, in simulated time: what is the first to be full?

    uv run python benchmarks/cluster_simulation.py [--agents 1000000] [--workers 1000] [--think 60]

Agents wait for their models, workers store steps in PostgreSQL, draw chunks from the root row of
the ledger, and move the outbox. What each of these costs is read from `cluster_costs.json`, which
`cluster_costs.py` measures. For each resource the most steps a second follow from its cost alone;
then the whole is simulated, agent by agent, and must not be above any of them. The same seed gives
the same figures on every machine. `--agents 20000 --workers 20` takes seconds.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from _bench import keep, table
from _cluster_model import Cluster
from _cluster_parts import Costs, Shape

COSTS = Path(__file__).with_name("cluster_costs.json")


def most(shape: Shape, costs: Costs) -> dict[str, float]:
    """The most steps a second that each resource allows, by what a step costs there."""
    chunks = shape.billed / (shape.chunk * shape.worst)  # drawn for one step
    database = costs.database_step + costs.rows * costs.database_row
    collectors = shape.collectors or shape.workers
    return {
        "models": shape.agents / shape.think,
        "workers": shape.workers * shape.worker_cores / costs.worker_step,
        "PostgreSQL": shape.databases * shape.cores / (database + chunks * costs.database_chunk),
        "root row": shape.roots / (chunks * (costs.database_chunk + costs.flush)),
        "outbox": collectors / (costs.rows * (costs.database_row + costs.collector_row)),
    }


def narrowest(shape: Shape, costs: Costs) -> tuple[str, float]:
    found = most(shape, costs)
    name = min(found, key=lambda one: found[one])
    return name, found[name]


def measured(shape: Shape, costs: Costs, seconds: float, seed: int) -> dict[str, float]:
    """Steps a second and shares in use for some simulated seconds, once it runs evenly."""
    _, bound = narrowest(shape, costs)
    cluster = Cluster(replace(shape, drawn=int(bound * shape.think)), costs, seed)
    begun = shape.think
    cluster.run(begun)
    done, busy = cluster.done, sum(one.busy for one in cluster.databases)
    held = sum(root.lock.held for root in cluster.roots)
    left, draws = cluster.uncollected, cluster.draws
    cluster.run(begun + seconds)
    servers = shape.databases * shape.cores
    return {
        "steps": (cluster.done - done) / seconds,
        "draws": (cluster.draws - draws) / seconds,
        "cpu": (sum(one.busy for one in cluster.databases) - busy) / seconds / servers,
        "root": (sum(root.lock.held for root in cluster.roots) - held) / seconds / shape.roots,
        "rows": (cluster.uncollected - left) / seconds,
        "over": cluster.over,
        "events": cluster.calendar.happened,
    }


def saturation(shapes: Sequence[Shape], costs: Costs, seconds: float) -> list[dict[str, float]]:
    rows, figures = [], []
    for shape in shapes:
        name, bound = narrowest(shape, costs)
        found = measured(shape, costs, seconds, seed=1)
        figures.append({"bound": bound, **found})
        rows.append(
            (
                *(f"{shape.databases} x {shape.cores}", shape.roots, shape.chunk),
                *(shape.collectors or shape.workers, name, bound, found["steps"], found["draws"]),
                *(f"{found['cpu']:.0%}", f"{found['root']:.0%}", found["rows"]),
            )
        )
        print(".", end="", file=sys.stderr, flush=True)
    head = (
        *("PostgreSQL x cores", "root rows", "chunk", "collectors", "first full"),
        *("at steps/s", "simulated", "chunks/s", "CPU of PostgreSQL", "root locked"),
        "outbox grows by rows/s",
    )
    first = shapes[0]
    table(
        f"{first.agents:,} agents, {first.workers:,} workers, models answer in {first.think:g} s",
        head,
        rows,
    )
    return figures


def chunks(costs: Costs, workers: int) -> list[dict[str, float]]:
    """A limit that is used up: what larger chunks leave behind, and what a death costs."""
    rows, figures = [], []
    for chunk, share in ((1, 0.0), (4, 0.0), (16, 0.0), (64, 0.0), (4, 1 / workers), (4, 0.02)):
        shape = Shape(
            workers, 20 * workers, 10, think=10, chunk=chunk, share=share, kills=20, takeover=5
        )
        shape = replace(shape, limit=100 * workers * shape.worst)
        cluster = Cluster(shape, costs)
        cluster.run()
        left = shape.limit - cluster.spent
        rows.append(
            (
                *(chunk, f"{share:.1%}", cluster.draws, cluster.done, cluster.refused, f"{left:,}"),
                *(f"{cluster.doubt:,}", cluster.over, cluster.calendar.now),
            )
        )
        figures.append({"chunk": chunk, "share": share, "left": left, "doubt": cluster.doubt})
    head = (
        *("chunk", "share", "draws", "steps", "refused", "tokens left", "charged in doubt", "over"),
        "seconds",
    )
    table(f"{100 * workers:,} calls of 1,000 tokens for {workers:,} workers, 20 die", head, rows)
    return figures


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    flags.add_argument("--agents", type=int, default=1_000_000)
    flags.add_argument("--workers", type=int, default=1_000)
    flags.add_argument("--think", type=float, default=60.0, help="seconds until a model answers")
    flags.add_argument("--seconds", type=float, default=20.0, help="simulated, after the start")
    flags.add_argument("--costs", type=Path, default=COSTS)
    flags.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    asked = flags.parse_args()
    gc.disable()  # a million agents are no garbage, and looking for it takes half of the time
    costs = Costs.read(asked.costs)
    base = Shape(asked.workers, asked.agents, think=asked.think)
    wide = replace(base, databases=8, roots=8)
    shapes = (
        *(replace(base, chunk=chunk) for chunk in (1, 16)),
        *(replace(base, databases=8, chunk=chunk) for chunk in (1, 4, 16)),
        *(replace(wide, chunk=chunk) for chunk in (1, 16)),
        replace(wide, chunk=16, collectors=1),
    )
    keep(
        asked.json,
        {
            "saturation": saturation(shapes, costs, asked.seconds),
            "chunks": chunks(costs, min(asked.workers, 100)),
        },
    )


if __name__ == "__main__":
    main()
