"""`sashizu models`: which models there are, and whether one answers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Annotated

import anyio
import typer
from sashizu_core.errors import ModelError, SashizuError
from sashizu_core.protocols import Model
from sashizu_core.types import Completion, Message, ModelRequest, ToolSchema

from sashizu_cli import render
from sashizu_cli.flags import complete_models
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import cut, one_line
from sashizu_cli.session import Session, session_of
from sashizu_cli.shared import Command, new_group

app = new_group("See and try models.")

TIMEOUT_S = 60.0
TOOL = ToolSchema(
    "double",
    "Doubles a number.",
    {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
        "additionalProperties": False,
    },
)

QUESTION = "Answer with the one word: ready"


@app.command("list", cls=Command)
def list_(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that can be asked for; NAME/* stands for every model of a provider."""
    models = session_of(ctx).registry.models
    if as_json:
        found = [{"name": name, "summary": models[name].summary} for name in sorted(models)]
        render.raw(json_text(found, indent=2))
    else:
        rows = [(name, models[name].summary) for name in sorted(models)]
        render.table([("NAME", "WHAT IT IS"), *rows])


@app.command(cls=Command)
def test(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", autocompletion=complete_models, help="The model.")
    ],
) -> None:
    """Ask a model for one word, and to call a tool; costs a few tokens.

    The calls belong to no run: they are neither recorded nor taken from a budget.
    """
    found = anyio.run(_try, name, session_of(ctx))
    completion, seconds = found.completion, found.seconds
    answer = cut(one_line(completion.message.content), 60)
    render.line(f"{name} answered in {seconds:.2f} s: {answer!r}")
    if completion.model and completion.model != name:
        render.line(f"the model says it is {completion.model}")
    if (usage := completion.usage) is not None:
        render.line(f"{usage.input_tokens} tokens in, {usage.output_tokens} out")
    else:
        render.warning("it did not say how many tokens it used: calls are charged at their hold")
    pieces = f"yes, in {found.pieces} pieces" if found.pieces > 1 else "no, all at once"
    render.line(f"streams: {pieces}")
    render.line(f"calls tools: {found.tools}")


@dataclass(frozen=True, slots=True)
class _Tried:
    """What a model did: its answer, how long it took, in how many pieces, and with a tool."""

    completion: Completion
    seconds: float
    pieces: int
    tools: str


async def _try(name: str, session: Session) -> _Tried:
    """Two small calls.

    Raises:
        UsageError: there is no such model.
        SashizuError: it did not answer.
    """
    from sashizu_core.runtime.plan import find_model

    spec = find_model(name, session.registry.models)
    try:
        with anyio.fail_after(TIMEOUT_S):
            async with spec.open(name) as model:
                cap = max(64, model.info.min_output_tokens)
                pieces: list[str] = []
                started = time.monotonic()
                request = ModelRequest((Message("user", QUESTION),), max_output_tokens=cap)
                completion = await model.complete(request, on_text=pieces.append)
                seconds = time.monotonic() - started
                return _Tried(completion, seconds, len(pieces), await _call_of(model, cap))
    except ModelError as error:
        raise SashizuError(f"{name} did not answer ({error.fault}): {error}") from error
    except TimeoutError:
        raise SashizuError(f"{name} did not answer within {TIMEOUT_S:g} s") from None


async def _call_of(model: Model, cap: int) -> str:
    """Whether a model calls a tool that it is asked to call."""
    messages = (Message("user", f"Call the tool {TOOL.name} with the number 2."),)
    request = ModelRequest(messages, tools=(TOOL,), max_output_tokens=max(cap, 256))
    try:
        calls = (await model.complete(request)).message.tool_calls
    except ModelError as error:
        return f"no ({error.fault}: {error})"
    if not calls:
        return "no, it answered with text"
    try:
        fits = isinstance(json.loads(calls[0].arguments), dict)
    except ValueError:
        fits = False
    return "yes" if fits and calls[0].name == TOOL.name else "yes, but not the way it was asked"
