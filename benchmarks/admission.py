"""How many loads of local models run out of memory: a check of free memory, and the controller.

    uv run python benchmarks/admission.py [--rounds 20] [--requests 300]

A simulation on a virtual clock: three cards, models of 2 to 40 GB, memory that shows a second late,
foreign processes that come and go. It counts and waits in simulated seconds, so a busy machine
changes nothing in it.
"""

from __future__ import annotations

from _bench import keep, parser, table
from sashizu_gpu_driver.admission.simulation import Outcome, controlled, naive, total


def row(name: str, found: Outcome) -> list[object]:
    waits = sorted(found.waits)
    return [
        name,
        f"{found.failed / found.loads:.2%}",
        found.served,
        round(sum(waits) / len(waits), 1),
        round(waits[int(0.95 * len(waits))], 1),
    ]


def main() -> None:
    arguments = parser(__doc__, rounds=20)
    arguments.add_argument("--requests", type=int, default=300)
    given = arguments.parse_args()
    seeds = range(given.rounds)
    policies = {
        "free memory alone": [naive(seed, given.requests) for seed in seeds],
        "controller": [controlled(seed, given.requests, attributed=False) for seed in seeds],
        "controller, by process": [
            controlled(seed, given.requests, attributed=True) for seed in seeds
        ],
    }
    rows = [row(name, total(found)) for name, found in policies.items()]
    table(
        f"{given.rounds} starts of {given.requests} requests",
        ("policy", "out of memory", "served", "mean wait s", "p95 wait s"),
        rows,
    )
    keep(given.json, {name: [vars(one) for one in found] for name, found in policies.items()})


if __name__ == "__main__":
    main()
