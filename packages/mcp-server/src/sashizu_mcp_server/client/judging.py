"""What the start of a server asks for, judged and on record before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import httpx2
from sashizu_core.grants import ExecRequest, NetRequest
from sashizu_core.permissions import effective
from sashizu_core.protocols import ServerStart, ToolsWanted
from sashizu_core.server_starts import authorize_start

from sashizu_mcp_server.client.configured import ServerConfig
from sashizu_mcp_server.client.dialling import Dialled, NotDialled
from sashizu_mcp_server.client.faults import NotStarted
from sashizu_mcp_server.client.starting import argv_of, expanded

__all__ = ["LOOPBACK", "dialled", "require_start", "server_url"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts of addresses that are on this machine."""

_PORTS = {"http": 80, "https": 443}


async def require_start(config: ServerConfig, wanted: ToolsWanted, env: Mapping[str, str]) -> None:
    """Have the start of a server decided for one agent, and the decision recorded.

    Raises:
        NotStarted: it is denied, or there is nothing to start.
        RecordError: the record cannot be written.
    """
    _require_listed(config, wanted)
    start = ServerStart(config.name, _request(config, wanted, env), config.brought)
    decision = authorize_start(start, wanted.subject)
    if isinstance(start.request, NetRequest) and decision.verdict != "deny":
        # Not before: to look up a name tells it to whoever answers for it.
        allowed = dialled(config, server_url(config, env), wanted)
        start = replace(start, refused=await _refused(allowed, start.request))
        decision = authorize_start(start, wanted.subject)
    if wanted.starting is not None:
        decision = await wanted.starting(start)
    if not decision.allowed:
        raise NotStarted(config.name, f"is not started: {decision.reason}")


def server_url(config: ServerConfig, env: Mapping[str, str]) -> httpx2.URL:
    """The address of a server.

    Raises:
        NotStarted: it is none, one without encryption, or a variable of it is not set.
    """
    text = expanded(config, config.entry.url or "", env)
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:
        raise NotStarted(config.name, f"cannot be reached: {error}") from error
    if url.scheme not in _PORTS or not url.host:
        raise NotStarted(config.name, f"cannot be reached: {text!r} is no address of the Web")
    if url.scheme == "http" and url.host not in LOOPBACK and not config.own:
        raise NotStarted(config.name, f"cannot be reached: {text!r} has to be https")
    return url


def dialled(config: ServerConfig, url: httpx2.URL, wanted: ToolsWanted) -> Dialled:
    """Which addresses may be dialled for a server that is at a URL."""
    return Dialled(_net_request(url).host if config.own else "", wanted.subject.chain)


def _require_listed(config: ServerConfig, wanted: ToolsWanted) -> None:
    """Start nothing for tools that a level above does not have."""
    tools = effective(wanted.subject.chain).tools
    if tools is not None and not any(name.partition("/")[0] == config.name for name in tools):
        raise NotStarted(config.name, "is not started: a level above allows none of its tools")


def _request(
    config: ServerConfig, wanted: ToolsWanted, env: Mapping[str, str]
) -> ExecRequest | NetRequest:
    if config.entry.url is not None:
        return _net_request(server_url(config, env))
    sandbox = wanted.sandbox
    if sandbox is None or wanted.confinement is None:
        raise NotStarted(config.name, "is not started: nothing would hold it")
    argv = argv_of(config, wanted.workspace.root, env)
    holds = sandbox.info.kind == "enforced"
    return ExecRequest(argv, argv[0], any_code=True, enforced_by=sandbox.info.name if holds else "")


def _net_request(url: httpx2.URL) -> NetRequest:
    path = url.raw_path.partition(b"?")[0].decode("ascii") or "/"
    host = url.raw_host.decode("ascii").lower().strip("[]")
    return NetRequest(url.scheme, host, url.port or _PORTS[url.scheme], path)


async def _refused(allowed: Dialled, request: NetRequest) -> str:
    """Why the address of a server must not be dialled; empty if it may, or nobody knows it."""
    try:
        await allowed.addresses(request)
    except NotDialled as error:
        return str(error)
    except OSError:
        return ""  # there is nothing to dial either, which is told when it is tried
    return ""
