"""What an installation weighs: core and cli beside `llm`, and everything.

    uv run python benchmarks/footprint.py

Megabytes of site-packages as installed, without and with compiled bytecode, and distributions.
"""

from __future__ import annotations

from pathlib import Path

from _bench import Lab, keep, parser, table


def weigh(python: Path) -> dict[str, float]:
    [packages] = python.parent.parent.glob("lib/python*/site-packages")
    files = [file for file in packages.rglob("*") if file.is_file() and not file.is_symlink()]
    compiled = [file for file in files if file.suffix == ".pyc"]
    size = sum(file.stat().st_size for file in files) / 1e6
    return {
        "dists": len(list(packages.glob("*.dist-info"))),
        "mb": size - sum(file.stat().st_size for file in compiled) / 1e6,
        "compiled_mb": size,
    }


def main() -> None:
    asked = parser(__doc__, rounds=1).parse_args()
    lab = Lab(asked.lab)
    found = {
        "llm": weigh(lab.python("llm")),
        "sashizu-core, sashizu-cli": weigh(lab.ours("core", "cli")),
        "and offline, budget": weigh(lab.ours("core", "cli", "offline", "budget")),
        "everything": weigh(lab.ours()),
        "agno, openai": weigh(lab.python("agno")),
        "openai-agents": weigh(lab.python("openai-agents")),
    }
    llm = found["llm"]["mb"]
    rows = [
        (name, weight["dists"], weight["mb"], weight["compiled_mb"], weight["mb"] / llm)
        for name, weight in found.items()
    ]
    table("Installed", ("what", "dists", "MB", "MB compiled", "x llm"), rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()
