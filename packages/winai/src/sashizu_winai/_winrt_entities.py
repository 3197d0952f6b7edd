"""Entities of App Actions, to Windows and from it. Run under Wine, unverified on Windows itself."""

from __future__ import annotations

from collections.abc import Callable

from winrt.windows.ai.actions import (
    ActionEntity,
    ActionEntityFactory,
    ActionEntityKind,
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
    read = _READ.get(entity.kind)
    return Entity(kind, read(entity) if read else entity.display_info.title)


# What comes out is an `ActionEntity`, and has to be asked for the class that it really is.
_READ: dict[int, Callable[[ActionEntity], str]] = {
    ActionEntityKind.TEXT: lambda one: one.as_(TextActionEntity).text,
    ActionEntityKind.STREAMING_TEXT: lambda one: one.as_(StreamingTextActionEntity).get_text(),
    ActionEntityKind.FILE: lambda one: one.as_(FileActionEntity).full_path,
    ActionEntityKind.PHOTO: lambda one: one.as_(PhotoActionEntity).full_path,
    ActionEntityKind.DOCUMENT: lambda one: one.as_(DocumentActionEntity).full_path,
    ActionEntityKind.URI: lambda one: one.as_(UriActionEntity).uri.absolute_uri,
}
