"""What an editor sends as a prompt: texts, files that are mentioned, and files that come along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from acp.schema import (
    EmbeddedResourceContentBlock,
    ResourceContentBlock,
    TextContentBlock,
    TextResourceContents,
)
from sashizu_core.errors import UsageError

__all__ = ["Asked", "read_blocks"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as an agent gets it; `scope` are the files in the workspace that it mentions."""

    text: str
    scope: tuple[str, ...]


def read_blocks(blocks: Sequence[Any], root: Path) -> Asked:
    """Read a prompt.

    Raises:
        UsageError: it holds nothing, or something that is neither text nor a file.
    """
    parts, along, scope = [], [], []
    for block in blocks:
        match block:
            case TextContentBlock(text=text):
                parts.append(text)
            case ResourceContentBlock(uri=uri):
                name, inside = _place(str(uri), root)
                parts.append(f"`{name}`")
                scope += [name] if inside else []
            case EmbeddedResourceContentBlock(resource=TextResourceContents() as resource):
                name, _ = _place(str(resource.uri), root)
                along.append(f"[begin {name}]\n{resource.text}\n[end {name}]")
            case _:
                raise UsageError(f"a prompt is text and files; found {block.type!r}")
    text = "\n\n".join(filter(None, ["".join(parts), *along]))
    if not text.strip():
        raise UsageError("the prompt is empty")
    return Asked(text, tuple(dict.fromkeys(scope)))


def _place(uri: str, root: Path) -> tuple[str, bool]:
    """A URI as it is told to an agent, and whether it is a file in the workspace."""
    parts = urlsplit(uri)
    if parts.scheme not in ("file", ""):
        return uri, False
    path = Path(unquote(parts.path))
    if path.is_absolute() and path.is_relative_to(root) and path.exists():
        return path.relative_to(root).as_posix(), True
    return str(path), False
