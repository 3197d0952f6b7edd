"""What core itself offers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sashizu_core.builtin.tools import delegate_tool, file_tools, skill_tool
from sashizu_core.executors import Executor, Operation
from sashizu_core.home import config_home
from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import AgentSource, ExecutorSpec, ToolSpec

_SHIPPED = Path(__file__).parent.parent / "shipped"
_YAML = ("*.yaml", "*.yml")


@hookimpl
def register_agents(settings: Settings) -> Sequence[AgentSource]:
    """Shipped agents, the user's, and those that a repository brings."""
    return [
        AgentSource("shipped", "agents for any repository", _SHIPPED, "shipped"),
        AgentSource("user", "your own agents", config_home() / "agents", "user"),
        AgentSource(
            ".sashizu", "the repository's agents", Path(".sashizu/agents"), "repository", _YAML
        ),
        AgentSource(
            ".codex",
            "the repository's agents for Codex",
            Path(".codex/agents"),
            "repository",
            (*_YAML, "*.toml"),
        ),
        AgentSource(
            ".claude",
            "the repository's agents for Claude Code",
            Path(".claude/agents"),
            "repository",
            ("*.md",),
        ),
    ]


@hookimpl
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    """The tools for files and skills, and the one that starts agents; all run in this process."""
    return [*file_tools(), skill_tool(), delegate_tool()]


@hookimpl
def register_executors(settings: Settings) -> Sequence[ExecutorSpec]:
    """The executor that needs nothing but this process."""

    @asynccontextmanager
    async def open_(operations: Mapping[str, Operation]) -> AsyncGenerator[Executor]:
        from sashizu_core.runtime.local_executor import local_executor

        async with local_executor(operations) as executor:
            yield executor

    return [ExecutorSpec("local", "agents are tasks of this process", open_)]
