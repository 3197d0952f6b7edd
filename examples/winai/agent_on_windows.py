"""An agent on the model of Windows where it is ready, and on the offline model elsewhere.

python agent_on_windows.py [--fake] [GOAL]

What `sashizu run --use-windows-ai=auto` does, in a program: the report says who really answered.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from sashizu_core.plugins import open_registry
from sashizu_core.runtime import delegate
from sashizu_core.settings import load_settings
from sashizu_core.types import Limits, Task


async def run(goal: str, *, fake: bool) -> None:
    overrides = [f"winai.fake={str(fake).lower()}", "run.model=offline"]
    settings = load_settings(Path.cwd(), overrides=overrides)
    registry = open_registry(settings)
    spec = registry.models["phi-silica"]
    assert spec.probe is not None
    found = await spec.probe()
    if not found.ready:
        print(f"phi-silica is not ready: {found.reason}")
    report = await delegate(
        Task("general", goal),
        model=spec.name if found.ready else None,
        budget=Limits(tokens=400_000),
        settings=settings,
        registry=registry,
    )
    print(report.answer or report.error)
    for use in report.backends:
        print(f"{use.name} was carried out by {use.backend}")


def main(words: list[str]) -> int:
    goal = " ".join(word for word in words if word != "--fake") or "What is in this folder?"
    anyio.run(lambda: run(goal, fake="--fake" in words))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
