"""Models that are loaded by other processes, too: what they do is said by their names.

`tree/all` starts one of each agent that it is offered and then answers,
`tree/leaf` answers at once, `tree/dies` ends its process, `tree/slow` answers after a minute,
`tree/writes` writes the file `made.txt`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from sashizu_core.hookspecs import hookimpl
from sashizu_core.protocols import Model
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.fakes import Answer, ScriptedModel, call
from sashizu_core.types import ModelInfo, ModelRequest

PATCH = "*** Begin Patch\n*** Add File: made.txt\n+made\n*** End Patch\n"


def _all(request: ModelRequest) -> Answer:
    if answers := [message for message in request.messages if message.role == "tool"]:
        return f"{len(answers)} answered"
    offered = [tool for tool in request.tools if tool.name == "delegate"]
    if not offered:
        return "nobody to ask"
    names = re.findall(
        r"\bkid-\w+", json.dumps(dict(offered[0].parameters)) + offered[0].description
    )
    kids = dict.fromkeys(names)
    return [call("delegate", f"call_{at}", agent=kid, goal="a part") for at, kid in enumerate(kids)]


def _writes(request: ModelRequest) -> Answer:
    if any(message.role == "tool" for message in request.messages):
        return request.messages[-1].content
    return [call("apply_patch", patch=PATCH)]


def _dies(request: ModelRequest) -> Answer:
    os._exit(9)


class _Slow(ScriptedModel):
    async def complete(self, request, *, on_text=None):  # type: ignore[no-untyped-def]
        await anyio.sleep(60)
        return await super().complete(request, on_text=on_text)


SCRIPTS = {"all": _all, "writes": _writes, "dies": _dies, "leaf": ["a leaf"], "slow": ["late"]}


@hookimpl
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    def open_(name: str) -> AbstractAsyncContextManager[Model]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Model]:
            kind = name.partition("/")[2]
            info = ModelInfo(name, "tree", local=True, min_output_tokens=16, max_output_tokens=500)
            made = _Slow if kind == "slow" else ScriptedModel
            yield made(SCRIPTS[kind], info=info)

        return opened()

    return [ModelSpec("tree/*", "models of tests", open_)]
