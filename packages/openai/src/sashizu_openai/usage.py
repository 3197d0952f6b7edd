"""Read what a provider says a call used."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field, ValidationError
from sashizu_core.types import Usage

__all__ = ["read_usage"]

Count = Annotated[int, Field(ge=0, le=10**12)]


class _InputDetails(BaseModel):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class _OutputDetails(BaseModel):
    reasoning_tokens: Count | None = None


class _Usage(BaseModel):
    input: Count = Field(validation_alias=AliasChoices("input_tokens", "prompt_tokens"))
    output: Count = Field(validation_alias=AliasChoices("output_tokens", "completion_tokens"))
    total: Count | None = Field(default=None, validation_alias="total_tokens")
    input_details: _InputDetails | None = Field(
        default=None,
        validation_alias=AliasChoices("input_tokens_details", "prompt_tokens_details"),
    )
    output_details: _OutputDetails | None = Field(
        default=None,
        validation_alias=AliasChoices("output_tokens_details", "completion_tokens_details"),
    )


def read_usage(raw: Any) -> Usage | None:
    """The usage of one attempt, in the names of either API; None if it says nothing sensible.

    Some services leave reasoning out of the output but not out of the total: the larger counts.
    """
    try:
        told = _Usage.model_validate(raw)
    except ValidationError:
        return None
    output = max(told.output, (told.total or 0) - told.input)
    cached = (told.input_details and told.input_details.cached_tokens) or 0
    written = (told.input_details and told.input_details.cache_write_tokens) or 0
    reasoning = (told.output_details and told.output_details.reasoning_tokens) or 0
    read = min(cached, told.input)
    return Usage(
        input_tokens=told.input,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=min(written, told.input - read),
        reasoning_tokens=min(reasoning, output),
    )
