"""Entities of App Actions, to Windows and from it. Unverified on Windows, like `_winrt`."""

from __future__ import annotations

from winrt.windows.ai.actions import (
    ActionEntity,
    ActionEntityFactory,
    DocumentActionEntity,
    FileActionEntity,
    PhotoActionEntity,
    StreamingTextActionEntity,
    TextActionEntity,
    UriActionEntity,
)
from winrt.windows.foundation import Uri

from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import Failed

__all__ = ["entity_from", "entity_to"]


def entity_to(given: Entity, factory: ActionEntityFactory) -> ActionEntity:
    match given.kind:
        case EntityKind.TEXT:
            return factory.create_text_entity(given.value)
        case EntityKind.FILE:
            return factory.create_file_entity(given.value)
        case EntityKind.PHOTO:
            return factory.create_photo_entity(given.value)
        case EntityKind.DOCUMENT:
            return factory.create_document_entity(given.value)
        case EntityKind.URI:
            return factory.create_uri_entity(Uri(given.value))
        case _:
            raise Failed("make an entity", f"the kind {given.kind!r} cannot be given")


def entity_from(entity: ActionEntity) -> Entity:
    """What an action gave, in words as far as its kind has any."""
    kind = entity.kind.name.lower()
    match entity:
        case TextActionEntity():
            return Entity(kind, entity.text)
        case StreamingTextActionEntity():
            return Entity(kind, entity.get_text())
        case FileActionEntity() | PhotoActionEntity() | DocumentActionEntity():
            return Entity(kind, entity.full_path)
        case UriActionEntity():
            return Entity(kind, entity.uri.absolute_uri)
        case _:
            return Entity(kind, entity.display_info.title)
