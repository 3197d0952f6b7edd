"""The MCP bundle (`.mcpb`): a ZIP file with a manifest and a small program that starts the server.

The format is version 0.3 of the bundle's manifest; `_meta` holds what the registry of Windows wants
beside it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from sashizu_winai.registry.answers import PROTOCOL, ServerAnswers

__all__ = ["PROGRAM", "SOURCE", "bundle_manifest", "bundle_of", "json_bytes"]

PROGRAM = "server/main.py"
"""Where in the bundle the program lies."""

SOURCE = '''"""Serve sashizu's agents and tools over MCP: what `sashizu mcp-server` does."""

import sys

from sashizu_cli.front import main

sys.argv[1:] = ["mcp-server", *sys.argv[1:]]
sys.exit(main())
'''

_MOST_DESCRIPTION = 500
_EPOCH = (1980, 1, 1, 0, 0, 0)


def bundle_manifest(
    answers: ServerAnswers, *, kind: str, entry: str, command: str, arguments: Sequence[str]
) -> dict[str, Any]:
    """The manifest of a server.

    Args:
        answers: what the server says of itself; Windows holds it to that.
        kind: `python` for a bundle, `binary` for a package, whose command is a program.
        entry: the file that serves, relative to the manifest.
        command: what is started.
        arguments: its words; `${__dirname}` is the folder of the bundle.
    """
    initialize = answers.initialize
    static = {
        "protocolVersion": initialize.get("protocolVersion", PROTOCOL),
        "capabilities": initialize.get("capabilities", {}),
        "serverInfo": initialize["serverInfo"],
    }
    if "instructions" in initialize:
        static["instructions"] = initialize["instructions"]
    tools = [dict(one) for one in answers.tools]
    return {
        "manifest_version": "0.3",
        "name": answers.name,
        "display_name": "sashizu",
        "version": answers.version,
        "description": "Directs many LLM agents at once under one budget, one policy, one ledger.",
        "author": {"name": "sashizu"},
        "license": "Apache-2.0",
        "server": {
            "type": kind,
            "entry_point": entry,
            "mcp_config": {"command": command, "args": list(arguments), "env": {}},
        },
        "tools": [
            {
                "name": str(one.get("name", "")),
                "description": str(one.get("description", ""))[:_MOST_DESCRIPTION],
            }
            for one in tools
        ],
        "tools_generated": False,
        "compatibility": {"platforms": ["win32", "darwin", "linux"]},
        "_meta": {
            "com.microsoft.windows": {
                "static_responses": {"initialize": static, "tools/list": {"tools": tools}}
            }
        },
    }


def bundle_of(manifest: Mapping[str, Any]) -> bytes:
    """The bundle of a manifest. The same manifest gives the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in (
            ("manifest.json", json_bytes(manifest)),
            (PROGRAM, SOURCE.encode()),
        ):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, content)
    return file.getvalue()


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A document as it is written into files."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
