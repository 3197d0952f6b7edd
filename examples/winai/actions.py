"""Show what Windows AI can do here, list the App Actions, and invoke one with a text.

python actions.py [--fake] [ACTION]
"""

from __future__ import annotations

import sys

import anyio
from sashizu_winai.capabilities import Capability
from sashizu_winai.choosing import chosen_backend
from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import WindowsAiError
from sashizu_winai.runtime import WindowsAiRuntime


async def run(action: str, *, fake: bool) -> None:
    async with WindowsAiRuntime.open(backend=chosen_backend(fake)) as runtime:
        report = await runtime.probe()
        for probe in report.probes:
            print(f"{probe.capability}: {probe.state}: {probe.reason}")
        if not report.of(Capability.ACTIONS).ready:
            return
        for info in await runtime.list_actions():
            print(f"action {info.id}: {info.description}")
        if action:
            await invoke(runtime, action)


async def invoke(runtime: WindowsAiRuntime, action: str) -> None:
    text = Entity(EntityKind.TEXT, "a text for an action")
    try:
        outcome = await runtime.invoke_action(action, {"text": text}, timeout=10)
    except WindowsAiError as error:
        print(f"{type(error).__name__}: {error}")
        return
    print(f"{outcome.status}, carried out by {outcome.backend}")
    for name, entity in outcome.outputs.items():
        print(f"{name}: {entity.value}")


def main(words: list[str]) -> int:
    fake = "--fake" in words
    named = [word for word in words if not word.startswith("--")]
    anyio.run(lambda: run(named[0] if named else "fake.upper" * fake, fake=fake))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
