"""The tools that a server offers: what clients are told of each, and what calling it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sashizu_core.errors import ArgumentsError, nearest

from sashizu_mcp_server.server.arguments import input_schema
from sashizu_mcp_server.server.caller import Caller
from sashizu_mcp_server.server.results import Output, ToolAnswer, output_schema

__all__ = ["Call", "OfferedTool", "hints", "typed_tool"]

A = TypeVar("A", bound=BaseModel)

Call = Callable[[Mapping[str, Any], Caller], Awaitable[ToolAnswer]]

MOST_FAULTS = 5


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """One tool. `definition` is its entry of `tools/list`, in the words of the protocol."""

    name: str
    definition: Mapping[str, Any]
    call: Call


def typed_tool(
    name: str,
    title: str,
    description: str,
    arguments: type[A],
    output: type[Output],
    call: Callable[[A, Caller], Awaitable[ToolAnswer]],
    *,
    reads: bool,
    open_world: bool = False,
    idempotent: bool = False,
    destructive: bool = False,
) -> OfferedTool:
    """A tool whose arguments and answer are models. `reads` says that it changes nothing."""

    async def called(given: Mapping[str, Any], caller: Caller) -> ToolAnswer:
        try:
            parsed = arguments.model_validate(given)
        except ValidationError as error:
            raise ArgumentsError(_faults(name, arguments, error)) from None
        return await call(parsed, caller)

    return OfferedTool(
        name,
        {
            "name": name,
            "title": title,
            "description": description,
            "inputSchema": input_schema(arguments),
            "outputSchema": output_schema(output),
            "annotations": hints(
                title,
                reads=reads,
                open_world=open_world,
                idempotent=idempotent,
                destructive=destructive,
            ),
        },
        called,
    )


def hints(
    title: str, *, reads: bool, open_world: bool, idempotent: bool, destructive: bool
) -> dict[str, Any]:
    """Hints for clients. What changes nothing is neither destructive nor twice different."""
    return {
        "title": title,
        "readOnlyHint": reads,
        "destructiveHint": destructive and not reads,
        "idempotentHint": idempotent or reads,
        "openWorldHint": open_world,
    }


def _faults(name: str, model: type[BaseModel], error: ValidationError) -> str:
    known: Sequence[str] = tuple(model.model_fields)
    found = error.errors(include_url=False, include_input=False)
    texts = []
    for fault in found[:MOST_FAULTS]:
        where = ".".join(str(part) for part in fault["loc"])[:100]
        if fault["type"] == "extra_forbidden":
            names = ", ".join(known) or "none"
            texts.append(f"there is no argument {where!r} (known: {names}){nearest(where, known)}")
        else:
            texts.append(f"{where!r}: {fault['msg']}" if where else fault["msg"])
    more = f"; and {len(found) - MOST_FAULTS} more" if len(found) > MOST_FAULTS else ""
    return f"{name}: {'; '.join(texts)}{more}"
