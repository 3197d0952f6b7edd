"""Which sandbox holds the programs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import anyio.to_thread

from sashizu_core.errors import UsageError, nearest
from sashizu_core.runtime.child_opening import OwnedStack
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.sandboxing import NoSandbox, Sandbox, SandboxInfo
from sashizu_core.specs import SandboxSpec

__all__ = ["open_sandbox", "starts_programs"]

EXEC = "shell.exec"
NONE = "none"

_MISSING = SandboxInfo(
    NONE, "none", "no sandbox is installed", "install the package 'sashizu-sandbox'"
)


def starts_programs(plan: AgentPlan) -> bool:
    """Whether an agent can start programs, has some to be run at its end, or lists servers."""
    needing = plan.engine or any(EXEC in spec.needs for spec in plan.tools.values())
    return needing or bool(plan.definition.verify or plan.served)


async def open_sandbox(
    wanted: str, offered: Mapping[str, SandboxSpec], stack: AsyncExitStack | OwnedStack
) -> Sandbox:
    """The sandbox that an operator chose by name, or with `auto` the best that works here.

    `none` is never chosen but by name. Where nothing can hold a program, what is returned starts
    none.

    Raises:
        UsageError: what was chosen is not there, or does not work here.
    """
    if wanted == "auto":
        return await _best([spec for spec in offered.values() if spec.name != NONE], stack)
    spec = offered.get(wanted)
    if spec is None:
        known = ("auto", *offered)
        raise UsageError(
            f"unknown sandbox {wanted!r} in 'run.sandbox'{nearest(wanted, known)}; "
            f"known: {', '.join(known)}"
        )
    info = await anyio.to_thread.run_sync(spec.probe)
    if info.kind == "none" and wanted != NONE:
        remedy = f"; {info.remedy}" if info.remedy else ""
        raise UsageError(f"the sandbox {wanted!r} does not work here: {info.reason}{remedy}")
    return await stack.enter_async_context(spec.open())


async def _best(offered: Sequence[SandboxSpec], stack: AsyncExitStack | OwnedStack) -> Sandbox:
    """One that enforces, else one that does so in part, else none."""
    partial: SandboxSpec | None = None
    refused: SandboxInfo | None = None
    for spec in sorted(offered, key=lambda each: each.rank):
        info = await anyio.to_thread.run_sync(spec.probe)
        if info.kind == "enforced":
            return await stack.enter_async_context(spec.open())
        if info.kind == "partial":
            partial = partial or spec
        else:
            refused = refused or info
    if partial is not None:
        return await stack.enter_async_context(partial.open())
    return NoSandbox(refused or _MISSING)
