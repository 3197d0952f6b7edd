"""Makes the first answers with the protocol's library, and keeps them for the next start."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from sashizu_core.home import config_home

import sashizu_mcp_server
from sashizu_mcp_server.server.sdk import initialization
from sashizu_mcp_server.server.service import Service
from sashizu_mcp_server.startup.answers import CAPABILITIES_KEY, VERSION_KEY
from sashizu_mcp_server.startup.options import Options
from sashizu_mcp_server.startup.prepared import MODERN, Prepared, kept_file, made_for, state_of

__all__ = ["keep", "line_of", "rendered"]

_PREFIX = '{"jsonrpc":"2.0","id":0,"result":'


def line_of(message: SessionMessage) -> str:
    """A message of the library as one line of JSON, without its end."""
    return message.message.model_dump_json(by_alias=True, exclude_unset=True)


async def rendered(server: Server[Any]) -> Prepared:
    """What the library answers to first requests, for every version that it speaks."""
    results: dict[str, dict[str, str]] = {"initialize": {}, "tools/list": {}, "server/discover": {}}
    for version in HANDSHAKE_PROTOCOL_VERSIONS:
        params = {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "-", "version": "-"},
        }
        first, tools = await _asked(
            server,
            [
                {"method": "initialize", "params": params},
                {"method": "notifications/initialized"},
                {"method": "tools/list"},
            ],
        )
        results["initialize"][version] = first
        results["tools/list"][version] = tools
    meta = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}
    for method in ("server/discover", "tools/list"):
        (text,) = await _asked(server, [{"method": method, "params": {"_meta": meta}}])
        results[method][MODERN] = text
    return Prepared(results, LATEST_HANDSHAKE_VERSION)


async def _asked(server: Server[Any], frames: Iterable[Mapping[str, Any]]) -> list[str]:
    """The results that a fresh connection gives, as JSON texts, in order."""
    texts: list[str] = []
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](1)
    async with anyio.create_task_group() as group, to_server, from_server:
        group.start_soon(server.run, from_client, to_client, initialization(server))
        for frame in frames:
            answered = not str(frame["method"]).startswith("notifications/")
            whole = {"jsonrpc": "2.0", **frame, **({"id": 0} if answered else {})}
            message = types.jsonrpc_message_adapter.validate_python(whole)
            await to_server.send(SessionMessage(message))
            if answered:
                line = line_of(await from_server.receive())
                if not line.startswith(_PREFIX):
                    raise AssertionError(f"no result: {line:.200}")
                texts.append(line[len(_PREFIX) : -1])
        group.cancel_scope.cancel()
    return texts


def keep(options: Options, service: Service, prepared: Prepared) -> None:
    """Write the answers down for the next start, if that can be done; blocks."""
    folder = Path(kept_file(options)).parent
    document = {
        "made_for": made_for(options),
        "states": {path: state_of(path) for path in _depends_on(options, service)},
        "results": prepared.results,
        "latest": prepared.latest,
        "fingerprint": prepared.fingerprint,
    }
    with suppress(OSError):  # the next start is slower, and no answer is wrong
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=folder, suffix=".new")
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(document, file, ensure_ascii=False)
            Path(name).replace(kept_file(options))
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _depends_on(options: Options, service: Service) -> list[str]:
    """The files and folders that decide what is answered."""
    import sys

    import sashizu_core.builtin

    own = Path(sashizu_mcp_server.__file__).parent
    paths = [
        str(own / "server"),
        str(own / "startup"),
        str(Path(sashizu_core.builtin.__file__).parent),
        str(config_home() / "sashizu.toml"),
        str(service.root / "sashizu.toml"),
        *(str(service.root / source.folder) for source in service.registry.agents.values()),
        *(f"{folder}/" for folder in sys.path if folder),
    ]
    if options.policy:
        paths.append(str(Path(options.policy).absolute()))
    return paths
