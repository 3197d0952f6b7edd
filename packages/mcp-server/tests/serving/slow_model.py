"""A plugin for server processes under test: a model that takes long, or asks for one tool call.

`fake/slow` writes `asked` and, when it is cancelled, `cancelled` into the folder $FAKE_TRACES.
`fake/writer` calls `apply_patch` once and then tells what came of it.
"""

import os
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from sashizu_core.hookspecs import hookimpl
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.fakes import ScriptedModel, call
from sashizu_core.types import ModelInfo

PATCH = "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+made\n"


class Slow(ScriptedModel):
    async def complete(self, request, *, on_text=None):
        folder = Path(os.environ["FAKE_TRACES"])
        (folder / "asked").touch()
        try:
            await anyio.sleep(3600)
        except anyio.get_cancelled_exc_class():
            (folder / "cancelled").touch()
            raise


def answer(request):
    said = [message for message in request.messages if message.role == "tool"]
    return said[-1].content if said else [call("apply_patch", patch=PATCH)]


@hookimpl
def register_models(settings):
    @asynccontextmanager
    async def slow(name):
        yield Slow([], info=ModelInfo("fake/slow", "fake", local=True, min_output_tokens=16))

    @asynccontextmanager
    async def writer(name):
        yield ScriptedModel(answer)

    return [ModelSpec("fake/slow", "slow", slow), ModelSpec("fake/writer", "writes", writer)]
