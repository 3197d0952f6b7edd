"""Conversations that can be continued: kept in the state folder, apart from the record.

The record holds digests and no text; a conversation that may be continued has to keep its text. It
is one private file, written whole or not at all, and only for agents whose definition retains it:
those of a `session` for 30 days, `permanent` ones until somebody deletes them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any, Literal

from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.ids import uuid7
from sashizu_core.types import Message, ToolCall, Usage

__all__ = [
    "Conversation",
    "load_conversation",
    "message_from",
    "plain_message",
    "save_conversation",
]

SESSION_S = 30 * 24 * 3600.0
"""How long a conversation of a session is kept after it was last continued, in seconds."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Conversation:
    """What `--continue` restores. `used` sums the usage of all its runs."""

    id: str
    agent: str
    model: str
    messages: tuple[Message, ...]
    used: Usage
    runs: tuple[str, ...] = ()
    retention: Literal["session", "permanent"] = "session"

    @staticmethod
    def new_id() -> str:
        return uuid7()


def _folder(home: Path) -> Path:
    return home / "conversations"


def plain_message(message: Message) -> dict[str, Any]:
    """A message as JSON values."""
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        plain["tool_calls"] = [[c.id, c.name, c.arguments] for c in message.tool_calls]
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
        plain["is_error"] = message.is_error
    if message.opaque:
        plain["opaque"] = dict(message.opaque)
    return plain


def message_from(plain: Mapping[str, Any]) -> Message:
    """The message of such values."""
    return Message(
        plain["role"],
        plain["content"],
        tuple(ToolCall(*parts) for parts in plain.get("tool_calls", ())),
        plain.get("tool_call_id", ""),
        plain.get("is_error", False),
        plain.get("opaque"),
    )


def save_conversation(home: Path, conversation: Conversation) -> Conversation:
    """Write a conversation under the state folder; replaces the older state that it continues.

    Returns what was written. Where another run has continued the same state meanwhile, this one is
    kept under an id of its own, so that neither is lost. Conversations of sessions that are too old
    are removed.

    Raises:
        SashizuError: it cannot be written.
    """
    folder = _folder(home)
    claim = folder / f".{conversation.id}.{len(conversation.runs)}.claim"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        conversation = _write_claimed(folder, claim, conversation)
    except OSError as error:
        raise SashizuError(f"cannot keep the conversation {conversation.id}: {error}") from error
    _sweep(folder)
    return conversation


def _write_claimed(folder: Path, claim: Path, conversation: Conversation) -> Conversation:
    """Write a conversation, under its id if nobody else goes on from the same turn."""
    another = replace(conversation, id=Conversation.new_id())
    try:
        claim.touch(0o600, exist_ok=False)
    except FileExistsError:
        _write(folder, another)
        return another
    try:
        before = _runs(folder / f"{conversation.id}.jsonl")
        if before not in (None, list(conversation.runs[:-1])):
            conversation = another
        _write(folder, conversation)
    finally:
        claim.unlink(missing_ok=True)
    return conversation


def _runs(path: Path) -> list[str] | None:
    """The runs of the conversation in a file; None where there is none that can be read."""
    try:
        with path.open(encoding="utf-8") as file:
            return list(json.loads(file.readline())["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sweep(folder: Path) -> None:
    """Remove the conversations of sessions that nobody has continued for long."""
    for path in folder.glob("*.jsonl"):
        try:
            if time() - path.stat().st_mtime > SESSION_S and _retention(path) == "session":
                path.unlink(missing_ok=True)
        except OSError:  # another process was faster, or it is not ours
            continue


def _retention(path: Path) -> str:
    """What a file says of itself; `permanent` where it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            return str(json.loads(file.readline())["retention"])
    except (ValueError, KeyError, TypeError):
        return "permanent"


def _write(folder: Path, conversation: Conversation) -> None:
    used = conversation.used
    head = {
        "id": conversation.id,
        "agent": conversation.agent,
        "model": conversation.model,
        "runs": conversation.runs,
        "retention": conversation.retention,
        "used": {name: getattr(used, name) for name in Usage.__slots__},
    }
    lines = [json.dumps(head), *[json.dumps(plain_message(m)) for m in conversation.messages]]
    path = folder / f"{conversation.id}.jsonl"
    fresh = folder / f".{conversation.id}.{os.getpid()}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(lines) + "\n")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _find(folder: Path, wanted: str) -> Path:
    known = sorted(path.stem for path in folder.glob("*.jsonl"))
    if wanted == "last" and known:
        return max((folder / f"{name}.jsonl" for name in known), key=lambda p: p.stat().st_mtime)
    found: Sequence[str] = [name for name in known if wanted and name.startswith(wanted)]
    if len(found) == 1 and _ID.fullmatch(found[0]):
        return folder / f"{found[0]}.jsonl"
    if len(found) > 1:
        raise UsageError(f"{wanted!r} names {len(found)} conversations: {', '.join(found[:5])}")
    raise UsageError(
        f"there is no conversation {wanted!r} ({len(known)} are kept){nearest(wanted, known)}"
    )


def load_conversation(home: Path, wanted: str) -> Conversation:
    """Read a conversation by its id, the beginning of it, or `last`.

    Raises:
        UsageError: there is none, or more than one, or its file is damaged.
    """
    path = _find(_folder(home), wanted)
    try:
        head, *messages = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return Conversation(
            head["id"],
            head["agent"],
            head["model"],
            tuple(message_from(plain) for plain in messages),
            Usage(**head["used"]),
            tuple(head["runs"]),
            head.get("retention", "session"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the conversation in {path} cannot be read: {error}") from error
