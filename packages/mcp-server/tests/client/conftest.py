"""A sandbox that holds nothing, a run's worth of servers, and an agent that lists their tools."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from sashizu_core.errors import SandboxError
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import readable
from sashizu_core.protocols import ToolContext, ToolsServed, ToolsWanted
from sashizu_core.sandboxing import Confinement, SandboxInfo
from sashizu_core.settings import Settings
from sashizu_core.workspace import Workspace
from sashizu_mcp_server.client.configured import ConfiguredServers
from sashizu_mcp_server.client.pace import Pace
from sashizu_mcp_server.client.source import ServerTools, open_server_tools

SERVERS = Path(__file__).parent / "servers"

QUICK = Pace(first_s=0.01, most_s=0.02, tries=4)


class _Running:
    def __init__(self, process: Process) -> None:
        self.process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    async def wait(self) -> int:
        return await self.process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class OpenSandbox:
    """Says that it holds programs, and holds nothing.

    `started` are their process groups, `asked` what for.
    """

    info = SandboxInfo("open", "enforced")

    def __init__(self, open_process: Callable[..., Any]) -> None:
        self._open_process = open_process
        self.started: list[int] = []
        self.asked: list[tuple[Sequence[str], Confinement]] = []

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[_Running]:
        self.asked.append((argv, confinement))
        try:
            # a server that misbehaves imports next to nothing: a new program costs least
            starts = anyio.open_process if "-I" in argv else self._open_process
            process = await starts(
                list(argv),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                cwd=confinement.cwd,
                env=dict(confinement.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(str(error)) from error
        self.started.append(process.pid)
        running = _Running(process)
        try:
            yield running
        finally:
            running.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()
                with anyio.fail_after(10):
                    while _members(process.pid):
                        await anyio.sleep(0.005)  # a signal takes a moment

    def alive(self) -> list[int]:
        """The process groups of which anything is left that is no zombie."""
        return [group for group in self.started if _members(group)]


def _members(group: int) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                after = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
                if int(after[2]) == group and after[0] not in "ZX":
                    found.append(folder.name)
    return found


@dataclass
class Run:
    """One run: its servers, and what was recorded of them."""

    source: ServerTools
    sandbox: OpenSandbox
    workspace: Workspace
    events: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def wanted(self, *listed: str, name: str = "agent", **more: Any) -> ToolsWanted:
        grants = Grants(tools=frozenset(listed), fs_read=(".",), **more.pop("grants", {}))

        async def suspicious(fields: Any) -> None:
            self.events.append(dict(fields))

        root = self.workspace.root
        given = {
            "sandbox": self.sandbox,
            "confinement": Confinement(root, readable=(root,)),
            "source": name,
            "suspicious": suspicious,
            **more,
        }
        return ToolsWanted(Subject(name, name, (grants,)), listed, self.workspace, **given)

    async def tools(self, *listed: str, **more: Any) -> ToolsServed:
        return await self.source.tools(self.wanted(*listed, **more))

    def context(self, **more: Any) -> ToolContext:
        subject = Subject("agent", "agent", (Grants(tools=None, fs_read=(".",)),))
        given = {"readable": readable(subject), "progress": self.lines.append, **more}
        return ToolContext("agent", "agent", "run", self.workspace, **given)

    async def call(self, tool: Any, arguments: str = '{"word": "hello"}') -> Any:
        return await tool.run(tool.parse(arguments), self.context())


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the hostile server listens."""
    command = [sys.executable, "-I", str(SERVERS / "hostile_http.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "work"
    root.mkdir()
    with Workspace.open(root) as workspace:
        yield workspace


def hostile(how: str, **more: Any) -> dict[str, Any]:
    """The table of a server that misbehaves."""
    return {
        "command": sys.executable,
        "args": ["-I", str(SERVERS / "hostile.py"), how],
        "timeout": "2s",
        "start_timeout": "20s",
        "protocol": "handshake",
        **more,
    }


def polite(**more: Any) -> dict[str, Any]:
    return {
        "command": sys.executable,
        "args": [str(SERVERS / "polite.py")],
        "timeout": "20s",
        "start_timeout": "60s",
        **more,
    }


@pytest.fixture
def table() -> Callable[..., dict[str, Any]]:
    return hostile


@pytest.fixture
def polite_table() -> Callable[..., dict[str, Any]]:
    return polite


Opened = Callable[..., contextlib.AbstractAsyncContextManager[Run]]


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path, warm: Any) -> Opened:
    """Opens a run with servers, by name: tables as in the settings."""

    @asynccontextmanager
    async def open_(pace: Pace = QUICK, **servers: dict[str, Any]) -> AsyncIterator[Run]:
        configured = ConfiguredServers(Settings({"mcp": servers}), config=tmp_path / "config")
        sandbox = OpenSandbox(warm.open_process)
        async with open_server_tools(lambda: configured, workspace.root, pace=pace) as source:
            yield Run(source, sandbox, workspace)
        assert sandbox.alive() == []

    return open_
