"""What sashizu-sandbox offers: sandboxes, the tools that need one, worktrees and their commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from sashizu_core.hookspecs import hookimpl
from sashizu_core.isolation import Isolation
from sashizu_core.protocols import Tool
from sashizu_core.settings import Settings
from sashizu_core.specs import CommandSpec, IsolationSpec, SandboxSpec, ToolSpec

from sashizu_sandbox.offers import sandbox_specs

__all__ = ["register_commands", "register_isolations", "register_sandboxes", "register_tools"]


@hookimpl
def register_sandboxes(settings: Settings) -> Sequence[SandboxSpec]:
    return sandbox_specs()


@asynccontextmanager
async def _open_shell() -> AsyncIterator[Tool]:
    from sashizu_sandbox.shell.tool import Shell

    yield Shell()


@asynccontextmanager
async def _open_fetch() -> AsyncIterator[Tool]:
    from sashizu_sandbox.network.fetch import Fetch

    yield Fetch()


@hookimpl
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    return [
        ToolSpec("shell", "run programs in a sandbox", _open_shell, needs=("shell.exec",)),
        ToolSpec("fetch", "get a page of the Web as text", _open_fetch, needs=("net",)),
    ]


@hookimpl
def register_isolations(settings: Settings) -> Sequence[IsolationSpec]:
    def fits(workspace: Path) -> str:
        from sashizu_sandbox.worktrees.isolation import why_not

        return why_not(workspace)

    def open_(workspace: Path, run_id: str) -> AbstractAsyncContextManager[Isolation]:
        from sashizu_sandbox.worktrees.isolation import open_worktrees

        return open_worktrees(workspace, run_id)

    def gone(agent_id: str) -> str:
        from sashizu_sandbox.worktrees.moving import why_gone

        return why_gone(agent_id)

    summary = "a git worktree and a branch for each agent"
    return [IsolationSpec("worktree", summary, fits, open_, gone)]


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    cli = "sashizu_sandbox.worktrees.cli"
    return [
        CommandSpec("merge", "Merge what the agents of a run changed.", f"{cli}:merge_app"),
        CommandSpec("worktrees", "List and remove worktrees.", f"{cli}:worktrees_app"),
    ]
