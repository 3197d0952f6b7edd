"""The table `[secrets]` of the settings: what else is secret, beside what core knows of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sashizu_core.redaction.own_patterns import compiled

__all__ = ["SecretsSettings"]


def _patterns(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        compiled(text)
    return texts


class SecretsSettings(BaseModel):
    """`[secrets]` in sashizu.toml; only the operator's own settings may have it.

    `redact` are regular expressions: what they match is secret. They may not be such that a text
    could make them take long (see `own_patterns`). `variables` are names of environment variables
    whose values are secret whatever they are called, `*` for any part of a name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    redact: Annotated[tuple[str, ...], AfterValidator(_patterns), Field(max_length=64)] = ()
    variables: Annotated[tuple[str, ...], Field(max_length=256)] = ()

    @property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The expressions, compiled."""
        return tuple(map(compiled, self.redact))
