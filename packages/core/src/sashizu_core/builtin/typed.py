"""A base for tools whose arguments are a pydantic model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sashizu_core.errors import ArgumentsError, nearest
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import StepKind, ToolResult, ToolSchema

__all__ = ["Arguments", "TypedTool"]

_MOST_FAULTS = 5


class Arguments(BaseModel):
    """The base of every tool's arguments: frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


A = TypeVar("A", bound=Arguments)


class TypedTool(ABC, Generic[A]):
    """A tool that says its `name`, its `description` and the model of its `arguments`.

    The schema and `parse` come from the model; give every field a description. `kind` says what a
    call does to the outside. What is left to write are `requests` and `run`.

    ```python
    class Count(TypedTool[CountArguments]):
        name = "count"
        description = "Count the lines of a file."
        arguments = CountArguments

        def requests(self, arguments, context):
            return [PathRequest(context.workspace.name(arguments.path), "read")]

        async def run(self, arguments, context):
            ...
    ```
    """

    name: str
    description: str
    arguments: type[A]
    kind: StepKind = StepKind.PURE

    @cached_property
    def schema(self) -> ToolSchema:
        """What a model is told."""
        parameters = _without_titles(self.arguments.model_json_schema())
        parameters.pop("description", None)  # the docstring of the model is for programmers
        return ToolSchema(self.name, self.description, parameters)

    def parse(self, arguments: str) -> A:
        """Read the JSON text that a model wrote; no text at all is no arguments.

        Raises:
            ArgumentsError: it does not fit; the message names every argument at fault.
        """
        try:
            return self.arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            known = tuple(self.arguments.model_fields)
            faults = list(_faults(error.errors(include_url=False, include_input=False), known))
            more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
            text = "; ".join(faults[:_MOST_FAULTS]) + more
            raise ArgumentsError(f"{self.name}: {text}") from error

    @abstractmethod
    def requests(self, arguments: A, context: ToolContext) -> Sequence[PermissionRequest]:
        """See `Tool.requests`."""

    @abstractmethod
    async def run(self, arguments: A, context: ToolContext) -> ToolResult:
        """See `Tool.run`."""


def _faults(errors: Iterable[Mapping[str, Any]], known: Sequence[str]) -> Iterable[str]:
    """One text for each fault: where, and what."""
    for error in errors:
        where = ".".join(str(part) for part in error["loc"])[:100]
        if error["type"] == "extra_forbidden":
            names = ", ".join(known)
            yield f"there is no argument {where!r} (known: {names}){nearest(where, known)}"
        elif not where:
            yield f"the arguments: {error['msg']}"
        else:
            yield f"{where!r}: {error['msg']}"


def _without_titles(schema: Any) -> Any:
    """A JSON schema without the titles that pydantic makes of the names."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: (
            {name: _without_titles(part) for name, part in value.items()}
            if key in ("properties", "$defs")
            else _without_titles(value)
        )
        for key, value in schema.items()
        if key != "title"
    }
