"""Many agents at once over HTTP, against the ideal: the time that one agent's model calls take.

    uv run python benchmarks/parallel.py [--rounds 3] [--agents 100 1000] [--peers]

Three agents of ten calls of 200 ms, at once and one after the other; then 100 and 1,000 agents of
five steps of 200 ms. `--peers` adds agno, which takes minutes with 1,000 agents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _bench import Lab, child, interleaved, keep, median, parser, table


def main() -> None:
    flags = parser(__doc__, rounds=3)
    flags.add_argument("--agents", type=int, nargs="*", default=[100, 1000])
    flags.add_argument("--peers", action="store_true")
    asked = flags.parse_args()
    lab = Lab(asked.lab)
    ours, agno = lab.ours(), lab.python("agno")
    with lab.server() as server:

        def case(peer: bool, agents: int, steps: int, *more: str) -> Callable[[], dict[str, Any]]:
            words = ("--url", server, "--ms", 200, "--agents", agents, "--steps", steps, *more)
            if peer:
                return lambda: child(agno, "agents/agno_agent.py", *words)
            here = ("--workspace", lab.folder / "workspace")
            return lambda: child(ours, "agents/ours.py", *words, *here)

        cases = {
            "3 agents, one by one": case(False, 3, 9, "--one-by-one"),
            "3 agents": case(False, 3, 9),
        }
        for count in asked.agents:
            cases[f"{count:,} agents"] = case(False, count, 5)
            if asked.peers:
                cases[f"{count:,} agents, agno"] = case(True, count, 5)
        found = interleaved(cases, asked.rounds, warmup=0)
    rows = []
    for name, samples in found.items():
        wall, ideal = median(samples, "wall_s"), samples[0]["ideal_s"]
        rows.append((name, wall, wall / ideal, median(samples, "cpu_s"), median(samples, "kb")))
    head = ("agents", "s", "x ideal", "CPU s", "KB an agent")
    table(f"Many agents, medians of {asked.rounds} rounds", head, rows)
    alone, together = (median(found[name], "wall_s") for name in list(cases)[:2])
    print(f"\n3 agents at once are {alone / together:.2f} x as fast as one after the other")
    keep(asked.json, found)


if __name__ == "__main__":
    main()
