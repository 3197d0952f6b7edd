"""`sashizu models`: which models there are, and whether one answers."""

from __future__ import annotations

import time
from typing import Annotated

import anyio
import typer
from sashizu_core.errors import ModelError, SashizuError
from sashizu_core.types import Completion, Message, ModelRequest

from sashizu_cli import render
from sashizu_cli.flags import complete_models
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import cut, one_line
from sashizu_cli.session import Session, session_of
from sashizu_cli.shared import Command, new_group

app = new_group("See and try models.")

TIMEOUT_S = 60.0
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
    """Ask a model for one word; costs a few tokens.

    The call belongs to no run: it is neither recorded nor taken from a budget.
    """
    started = time.monotonic()
    completion = anyio.run(_ask, name, session_of(ctx))
    seconds = time.monotonic() - started
    answer = cut(one_line(completion.message.content), 60)
    render.line(f"{name} answered in {seconds:.2f} s: {answer!r}")
    if completion.model and completion.model != name:
        render.line(f"the model says it is {completion.model}")
    if (usage := completion.usage) is not None:
        render.line(f"{usage.input_tokens} tokens in, {usage.output_tokens} out")
    else:
        render.warning("it did not say how many tokens it used: calls are charged at their hold")


async def _ask(name: str, session: Session) -> Completion:
    """One small call.

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
                request = ModelRequest((Message("user", QUESTION),), max_output_tokens=cap)
                return await model.complete(request)
    except ModelError as error:
        raise SashizuError(f"{name} did not answer ({error.fault}): {error}") from error
    except TimeoutError:
        raise SashizuError(f"{name} did not answer within {TIMEOUT_S:g} s") from None
