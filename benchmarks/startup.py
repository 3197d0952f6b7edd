"""Start-up: how long `--version` and help take, beside a click hello world and bare Python.

    uv run python benchmarks/startup.py [--rounds 30]

Whole processes in shuffled order, in lean environments with compiled bytecode. The ratio is the
median over rounds of the ratio within a round.
"""

from __future__ import annotations

from _bench import Lab, Sample, interleaved, keep, median, parser, process, table

HELLO = """\
import click


@click.group()
@click.version_option("1.0")
def main():
    "Say hello."


@main.command()
@click.argument("name")
@click.option("--times", default=1, help="How often.")
def hello(name, times):
    "Greet somebody."


main()
"""


def main() -> None:
    asked = parser(__doc__, rounds=30).parse_args()
    lab = Lab(asked.lab)
    ours, all_ours, click = lab.ours("core", "cli"), lab.ours(), lab.python("click")
    hello = lab.folder / "hello.py"
    hello.write_text(HELLO)
    commands = {
        "click hello --version": [str(click), str(hello), "--version"],
        "click hello --help": [str(click), str(hello), "--help"],
        "python -c pass": [str(ours), "-c", "pass"],
    }
    for label, python in (("core and cli", ours), ("everything", all_ours)):
        sashizu = str(python.parent / "sashizu")
        for words in ("--version", "--help", "delegate-parallel --help"):
            commands[f"sashizu {words} ({label})"] = [sashizu, *words.split()]
    cases = {name: lambda words=words: process(words) for name, words in commands.items()}
    found = interleaved(cases, asked.rounds, warmup=2)

    def ratio(samples: list[Sample], base: str) -> float:
        pairs = zip(samples, found[base], strict=True)
        return median([sample.wall_ms / other.wall_ms for sample, other in pairs])

    rows = [
        (
            name,
            median(samples, "wall_ms"),
            median(samples, "cpu_ms"),
            ratio(samples, "click hello --help"),
            ratio(samples, "python -c pass"),
        )
        for name, samples in found.items()
    ]
    head = ("command", "ms", "CPU ms", "x click hello --help", "x python -c pass")
    table(f"Start-up, medians of {asked.rounds} rounds", head, rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()
