"""Makes the first answers, and keeps them for the next start.

They are what the protocol's library answers over the same tools, byte for byte, without importing
it: who has never been started here before would otherwise be too late for a client that waits one
second. Where keys stand is the library's, which writes the known ones of a version first.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from sashizu_core.home import config_home

import sashizu_mcp_server
from sashizu_mcp_server.server.service import Service
from sashizu_mcp_server.startup.options import Options
from sashizu_mcp_server.startup.prepared import (
    MODERN,
    Prepared,
    kept_file,
    made_for,
    shared_file,
    state_of,
)

__all__ = ["HANDSHAKE_VERSIONS", "INSTRUCTIONS", "SERVER_INFO", "keep", "rendered"]

HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The versions that are agreed on by a handshake, oldest first."""

INSTRUCTIONS = (
    "sashizu directs many LLM agents at once under one budget, one policy and one record. Use "
    "delegate or delegate_parallel to have agents work; list_agents tells which there are. Where "
    "calls time out, say wait=false and poll run_status, then get run_result."
)

_INFO = {"name": "sashizu", "title": "sashizu", "version": sashizu_mcp_server.__version__}

SERVER_INFO: Mapping[str, Any] = {"io.modelcontextprotocol/serverInfo": _INFO}
"""What the newest era puts into every result."""

_TOOL = ("annotations", "description", "inputSchema", "name", "outputSchema", "title")
_SCHEMA = ("$schema", "properties", "required", "type")
_MODERN_SCHEMA = {"inputSchema": ("$schema", "type"), "outputSchema": ("$schema",)}


def rendered(definitions: Sequence[Mapping[str, Any]]) -> Prepared:
    """What is answered to first requests, for every version; `definitions` are the tools."""
    results: dict[str, dict[str, str]] = {"initialize": {}, "tools/list": {}, "server/discover": {}}
    tools = _text({"tools": [_tool(each, modern=False) for each in definitions]})
    for version in HANDSHAKE_VERSIONS:
        agreed = {
            "capabilities": _capabilities(tools_change=True),
            "instructions": INSTRUCTIONS,
            "protocolVersion": version,
            "serverInfo": _INFO,
        }
        results["initialize"][version] = _text(agreed)
        results["tools/list"][version] = tools
    end = {"ttlMs": 0, "_meta": SERVER_INFO}
    listed = [_tool(each, modern=True) for each in definitions]
    results["tools/list"][MODERN] = _text(
        {"cacheScope": "private", "resultType": "complete", "tools": listed, **end}
    )
    told = {
        "cacheScope": "private",
        "capabilities": _capabilities(tools_change=False),
        "instructions": INSTRUCTIONS,
        "resultType": "complete",
        "supportedVersions": [MODERN],
        **end,
    }
    results["server/discover"][MODERN] = _text(told)
    return Prepared(results, HANDSHAKE_VERSIONS[-1])


def _capabilities(*, tools_change: bool) -> dict[str, Any]:
    return {
        "prompts": {"listChanged": False},
        "resources": {"listChanged": False, "subscribe": False},
        "tools": {"listChanged": tools_change},
    }


def _tool(definition: Mapping[str, Any], *, modern: bool) -> dict[str, Any]:
    tool = _ordered(definition, _TOOL)
    tool["annotations"] = _ordered(tool["annotations"], sorted(tool["annotations"]))
    for name, known in _MODERN_SCHEMA.items():
        tool[name] = _ordered(tool[name], known if modern else _SCHEMA)
    return tool


def _ordered(value: Mapping[str, Any], first: Iterable[str]) -> dict[str, Any]:
    """The same, with these keys before the others."""
    known = {key: value[key] for key in first if key in value}
    return {**known, **{key: part for key, part in value.items() if key not in known}}


def _text(value: Mapping[str, Any]) -> str:
    return to_json(value).decode()


# --- keeping --------------------------------------------------------------------------------------


def keep(options: Options, service: Service, prepared: Prepared) -> None:
    """Write the answers down for the next start, if that can be done; blocks.

    Where the workspace brings nothing that they depend on, they are for every such workspace.
    """
    depends = {path: state_of(path) for path in _depends_on(options, service)}
    shared = _is_everywhere(depends)
    document = {
        "made_for": made_for(options, shared=shared),
        "states": depends,
        "results": prepared.results,
        "latest": prepared.latest,
        "fingerprint": prepared.fingerprint,
    }
    file = Path(shared_file(options) if shared else kept_file(options))
    with suppress(OSError):  # the next start is slower, and no answer is wrong
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=file.parent, suffix=".new")
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as writing:
                json.dump(document, writing, ensure_ascii=False)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _is_everywhere(depends: Mapping[str, str]) -> bool:
    """Whether nothing of the workspace decides what is answered."""
    searched = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return all(Path(folder).is_absolute() for folder in searched if folder) and all(
        state == "-" for path, state in depends.items() if not Path(path).is_absolute()
    )


def _depends_on(options: Options, service: Service) -> list[str]:
    """The files and folders that decide what is answered; the workspace's are relative to it."""
    import sys

    import sashizu_core.builtin

    own = Path(sashizu_mcp_server.__file__).parent
    here = str(service.root)
    paths = [
        str(own / "server"),
        str(own / "startup"),
        str(Path(sashizu_core.builtin.__file__).parent),
        str(config_home() / "sashizu.toml"),
        "sashizu.toml",
        *(str(source.folder) for source in service.registry.agents.values()),
        *("./" if folder == here else f"{folder}/" for folder in sys.path if folder),
    ]
    if options.policy:
        paths.append(options.policy)
    return paths
