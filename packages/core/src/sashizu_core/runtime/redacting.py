"""What leaves a run without secrets: reports, errors, and conversations that are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sashizu_core.plugins import Registry
from sashizu_core.redaction import Redactor, secret_variables
from sashizu_core.secret_tables import SecretsSettings
from sashizu_core.settings import Settings
from sashizu_core.types import Message, ToolCall

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["redacted_error", "redacted_messages", "redacted_report", "run_redactor"]

E = TypeVar("E", bound=BaseException)
R = TypeVar("R", bound="DataclassInstance")

_IDS = frozenset({"run_id", "agent_id", "node_id", "sha256", "commit", "base"})


def run_redactor(
    settings: Settings, registry: Registry, env: Mapping[str, str] = os.environ
) -> Redactor:
    """What one run knows of secrets: keys, the environment, the operator's patterns.

    Raises:
        ConfigError: the table `[secrets]` is wrong.
    """
    own = settings.plugin("secrets", SecretsSettings)
    keys = [secret for spec in registry.models.values() for secret in spec.secrets]
    keys += [secret for source in registry.tool_sources.values() for secret in source.secrets]
    return Redactor([*keys, *secret_variables(env, own.variables)], patterns=own.patterns)


def redacted_report(report: R, redactor: Redactor) -> R:
    """A report, or a part of one, in which no text holds a secret."""
    changed = {
        field.name: _cleaned(getattr(report, field.name), redactor)
        for field in fields(report)
        if field.name not in _IDS
    }
    return replace(report, **changed)


def _cleaned(value: Any, redactor: Redactor) -> Any:
    if type(value) is str:
        return redactor.text(value)
    if isinstance(value, tuple | list):
        return type(value)([_cleaned(item, redactor) for item in value])
    if is_dataclass(value) and not isinstance(value, type):
        return redacted_report(value, redactor)
    return value


def redacted_messages(messages: Iterable[Message], redactor: Redactor) -> tuple[Message, ...]:
    """A conversation as it is kept: a model that goes on with it sees marks for secrets."""
    return tuple(_redacted(message, redactor) for message in messages)


def _redacted(message: Message, redactor: Redactor) -> Message:
    text = redactor.text
    return replace(
        message,
        content=text(message.content),
        tool_calls=tuple(
            ToolCall(text(call.id), text(call.name), text(call.arguments))
            for call in message.tool_calls
        ),
        tool_call_id=text(message.tool_call_id),
        opaque=redactor.value(message.opaque) if message.opaque else message.opaque,
    )


def redacted_error(error: E, redactor: Redactor) -> E:
    """The same error, its message without secrets, and those of what caused it."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        found.args = tuple(
            redactor.text(part) if isinstance(part, str) else part for part in found.args
        )
        found = found.__cause__ or found.__context__
    return error
