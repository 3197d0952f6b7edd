"""The fingerprint of what a server tells of a tool, by which a change of it is found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

__all__ = ["tool_fingerprint"]

_TOLD = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


def tool_fingerprint(tool: Mapping[str, Any]) -> str:
    """The SHA-256 of what is told of a tool, in hexadecimal: its name, words, schemas and hints.

    `tool` is an entry of `tools/list`, as the Model Context Protocol has it.
    """
    told = {key: tool[key] for key in _TOLD if tool.get(key) is not None}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode()).hexdigest()
