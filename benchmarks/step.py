"""One step of an agent, a model call and a tool call, when the model answers at once.

    uv run python benchmarks/step.py [--rounds 5] [--runs 20]

Ours with a YAML agent, a tree of three budgets and the record on a disk, beside agno, which has
none of the three: in one process, and over HTTP on this machine. Every round starts every program
anew, in shuffled order. A step goes from one tool call to the next, in runs of ten.
"""

from __future__ import annotations

from _bench import Lab, child, interleaved, keep, median, parser, table


def main() -> None:
    flags = parser(__doc__, rounds=5)
    flags.add_argument("--runs", type=int, default=20)
    asked = flags.parse_args()
    lab = Lab(asked.lab)
    ours, agno = lab.ours(), lab.python("agno")
    workspace = ("--workspace", lab.folder / "workspace")
    runs = ("--runs", asked.runs)
    with lab.server() as server:
        url = ("--url", server)
        cases = {
            "sashizu, in process": lambda: child(ours, "agents/ours.py", *runs, *workspace),
            "agno, in process": lambda: child(agno, "agents/agno_agent.py", *runs),
            "sashizu, HTTP": lambda: child(ours, "agents/ours.py", *runs, *url, *workspace),
            "agno, HTTP": lambda: child(agno, "agents/agno_agent.py", *runs, *url),
        }
        found = interleaved(cases, asked.rounds)
    rows = []
    for name, samples in found.items():
        us, p99 = median(samples, "us"), median(samples, "p99_us")
        peer = median(found["agno, " + name.split(", ")[1]], "us")
        rows.append((name, us, p99, p99 / us, us / peer))
    head = ("agent", "us a step", "p99", "p99 / median", "x agno")
    table(f"One step, medians of {asked.rounds} rounds of {asked.runs} runs", head, rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()
