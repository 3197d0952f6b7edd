"""Whether a server of tools may be started, or connected to, for an agent that lists its tools.

Who lists a server's tools says by that that it may be started: no grant of `shell.exec` or `net` is
needed beside. No ceiling and no rule is passed by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sashizu_core.granting import request_text
from sashizu_core.grants import ExecRequest, Grants, NetRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.protocols import Policy, ServerStart
from sashizu_core.types import Decision

__all__ = ["authorize_start"]


def authorize_start(
    start: ServerStart, subject: Subject, policies: Iterable[Policy] = ()
) -> Decision:
    """Judge the start of a server like any other program or connection.

    The agent's own level has it granted. So has a ceiling that says nothing of programs or
    addresses, and an agent above that lists tools of the same server, unless the definition of the
    one beneath describes it. What a ceiling says and every rule hold.
    """
    if start.refused:
        may_not = f"{subject.agent_name} may not {request_text(start.request)}"
        return Decision("deny", f"{may_not}: {start.refused}")
    last = len(subject.chain) - 1
    chain = tuple(
        _with(level, start.request) if at == last or _lists(level, start) else level
        for at, level in enumerate(subject.chain)
    )
    decision = authorize((start.request,), replace(subject, chain=chain), policies)
    if not decision.allowed:
        return decision
    return replace(decision, reason="allowed by the server's entry", rule=f"server: {start.server}")


def _lists(level: Grants, start: ServerStart) -> bool:
    """Whether a level above lets the agent's own list of servers decide."""
    kind = "exec" if isinstance(start.request, ExecRequest) else "net"
    if level.silent_on is not None:
        return kind in level.silent_on
    if start.brought or level.tools is None:
        return False
    return any(name.partition("/")[0] == start.server for name in level.tools if "/" in name)


def _with(level: Grants, request: ExecRequest | NetRequest) -> Grants:
    """A level that has this one request granted; its rules stay."""
    if isinstance(request, NetRequest):
        return replace(level, net=(*level.net, _origin(request)))
    return replace(level, exec=("*",))


def _origin(request: NetRequest) -> str:
    host = f"[{request.host}]" if ":" in request.host else request.host
    return f"{request.scheme}://{host}:{request.port}"
