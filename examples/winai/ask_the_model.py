"""Ask the on-device language model of Windows, and print its answer as it comes.

python ask_the_model.py [--fake] [PROMPT]
"""

from __future__ import annotations

import sys

import anyio
from sashizu_core.errors import ModelError
from sashizu_core.types import Message, ModelRequest
from sashizu_winai.capabilities import Capability
from sashizu_winai.choosing import chosen_backend
from sashizu_winai.runtime import WindowsAiRuntime


async def run(prompt: str, *, fake: bool) -> None:
    async with WindowsAiRuntime.open(backend=chosen_backend(fake)) as runtime:
        probe = await runtime.probe_one(Capability.LANGUAGE_MODEL)
        if probe.state not in ("ready", "not_ready"):
            print(f"{probe.state}: {probe.reason}")
            print(probe.remedy)
            return
        request = ModelRequest((Message("user", prompt),), max_output_tokens=400)
        model = runtime.language_model()
        try:
            found = await model.complete(request, on_text=lambda piece: print(piece, end=""))
        except ModelError as error:
            print(f"{error.fault}: {error}")
            return
        print(f"\n({found.finish_reason}, carried out by {found.backend})")


def main(words: list[str]) -> int:
    prompt = " ".join(word for word in words if word != "--fake") or "What is a budget?"
    anyio.run(lambda: run(prompt, fake="--fake" in words))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
