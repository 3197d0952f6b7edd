"""Settings: file < user < environment < flags, one table per plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sashizu_core.errors import ConfigError

__all__ = ["Settings", "Table"]

M = TypeVar("M", bound=BaseModel)


class Table(BaseModel):
    """The base of every settings table: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Settings:
    """All settings of a process. `tables` are the raw tables by name, already merged."""

    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def plugin(self, name: str, table: type[M]) -> M:
        """The table of a plugin, validated.

        Raises:
            ConfigError: a key is unknown or a value is wrong.
        """
        try:
            return table.model_validate(dict(self.tables.get(name, {})))
        except ValidationError as error:
            raise ConfigError(f"[{name}] {error}") from error
