"""What goes into an App Action and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

__all__ = [
    "PATH_KINDS",
    "ActionInfo",
    "ActionInput",
    "ActionOutcome",
    "Entity",
    "EntityKind",
    "Feedback",
    "OutcomeStatus",
]


class EntityKind(StrEnum):
    """The kinds of entities that can be given to an action."""

    TEXT = "text"
    FILE = "file"
    PHOTO = "photo"
    DOCUMENT = "document"
    URI = "uri"


PATH_KINDS = frozenset({EntityKind.FILE, EntityKind.PHOTO, EntityKind.DOCUMENT})
"""Kinds whose value is a path that the action reads."""

OutcomeStatus = Literal["success", "user_canceled", "unsupported", "unavailable"]
Feedback = Literal["positive", "negative"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity. `value` is a text, an absolute path or a URI, as `kind` says.

    What comes out of an action may be of a kind that has no value in words; then `value` is its
    title. `kind` is the name that Windows has for it there, in lower case.
    """

    kind: EntityKind | str
    value: str

    def as_json(self) -> dict[str, str]:
        return {"kind": str(self.kind), "value": self.value}


@dataclass(frozen=True, slots=True)
class ActionInput:
    """What an action takes under one name. `kind` is the name that Windows has for it."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class ActionInfo:
    """An action of the catalogue.

    `variants` are the combinations of inputs that it takes. `package` is the family name of the
    package that provides it. Everything here was written by that package: it is untrusted text.
    """

    id: str
    description: str
    package: str
    available: bool
    generative: bool
    displays_ui: bool
    variants: tuple[tuple[ActionInput, ...], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "description": self.description,
            "package": self.package,
            "available": self.available,
            "generative": self.generative,
            "displays_ui": self.displays_ui,
            "variants": [
                [{"name": one.name, "kind": one.kind} for one in variant]
                for variant in self.variants
            ],
        }


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """How an action ended. `backend` says who really carried it out."""

    action: str
    status: OutcomeStatus
    outputs: dict[str, Entity] = field(default_factory=dict)
    backend: str = ""
    hresult: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "status": self.status,
            "outputs": {name: entity.as_json() for name, entity in self.outputs.items()},
            "backend": self.backend,
            "hresult": None if not self.hresult else f"0x{self.hresult:08X}",
        }
