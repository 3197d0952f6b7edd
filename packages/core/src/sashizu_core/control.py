"""The control socket of a run: status, events, cancel, from another process of the same user.

Each run listens on a Unix socket in the state folder and keeps a small file beside it, so that runs
can be listed after they ended. The protocol is one JSON object per line: a request, then answers.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.memory import MemoryObjectSendStream

from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.events import Event
from sashizu_core.home import state_home

__all__ = ["ControlServer", "RunHandle", "RunInfo", "cancel", "events", "list_runs", "status"]

UNSUPPORTED = "unsupported: this system has no Unix sockets, so a run cannot be reached"
MAX_REQUEST_BYTES = 64 * 1024


@dataclass(slots=True)
class RunInfo:
    """What is known of a run without talking to it. Times are Unix seconds."""

    run_id: str
    agents: list[str]
    workspace: str
    pid: int
    started_at: float
    ended_at: float | None = None
    status: str = "running"
    success_count: int | None = None

    @property
    def total_count(self) -> int:
        return len(self.agents)


@dataclass
class RunHandle:
    """A run from the inside: its state, and how to stop it.

    `cancel` ends every agent with a report, `cancel_agent` one of them. `snapshot` gives the state
    of every agent as JSON values.
    """

    run_id: str
    snapshot: Callable[[], Mapping[str, Any]] = dict
    reason: str = ""
    expired: bool = False
    _scopes: dict[str, anyio.CancelScope] = field(default_factory=dict)

    def track(self, agent_id: str, scope: anyio.CancelScope) -> None:
        """Make an agent instance cancellable."""
        self._scopes[agent_id] = scope
        if self.reason:
            scope.cancel()

    def untrack(self, agent_id: str) -> None:
        self._scopes.pop(agent_id, None)

    def cancel(self, reason: str = "cancelled") -> None:
        """End all agents; those that have not begun end at once when they do."""
        self.reason = self.reason or reason
        for scope in self._scopes.values():
            scope.cancel()

    def expire(self, reason: str) -> None:
        """End all agents because the run's time is over."""
        self.expired = True
        self.cancel(reason)

    def cancel_agent(self, agent_id: str) -> bool:
        """End one agent; False if it is not at work."""
        scope = self._scopes.get(agent_id)
        if scope is not None:
            scope.cancel()
        return scope is not None


class _Feed:
    """A sink that passes events on to who listens on the socket."""

    persistent = False

    def __init__(self) -> None:
        self.listeners: set[MemoryObjectSendStream[Event]] = set()

    def write(self, events: Sequence[Event]) -> None:
        for listener in tuple(self.listeners):
            for event in events:
                try:
                    listener.send_nowait(event)
                except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    # Who cannot keep up loses the feed, never the run.
                    self.listeners.discard(listener)
                    break

    async def durable(self) -> None:
        await anyio.lowlevel.checkpoint()

    def child_handoff(self) -> Mapping[str, str]:
        return {}


class ControlServer:
    """Serves one run. `feed` is a sink to be added to the run's own."""

    def __init__(self, handle: RunHandle, info: RunInfo, home: Path) -> None:
        self.feed = _Feed()
        self._handle = handle
        self._info = info
        self._folder = home / "runs"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listen until the block is left; then write down how the run ended."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._save()
        path = _socket_path(self._folder, self._info.run_id)
        if not hasattr(socket, "AF_UNIX"):
            yield
            return
        try:
            with _short(path) as short:
                listener = await anyio.create_unix_listener(short, mode=0o600)
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, self._answer)
                yield
                group.cancel_scope.cancel()
        finally:
            path.unlink(missing_ok=True)

    def ended(self, status_text: str, success_count: int) -> None:
        self._info.ended_at = time.time()
        self._info.status = status_text
        self._info.success_count = success_count
        self._save()

    def _save(self) -> None:
        path = self._folder / f"{self._info.run_id}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self._info)), "utf-8")
        fresh.chmod(0o600)
        fresh.replace(path)

    async def _answer(self, stream: SocketStream) -> None:
        async with stream:
            if not _same_user(stream):
                return
            try:
                request = json.loads(await _read_line(stream))
                await self._do(request, stream)
            except (ValueError, TypeError, KeyError) as error:
                await _send(stream, {"error": f"not understood: {error}"})
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                return

    async def _do(self, request: Mapping[str, Any], stream: SocketStream) -> None:
        match request.get("do"):
            case "status":
                await _send(stream, {**asdict(self._info), **self._handle.snapshot()})
            case "cancel":
                agent_id = request.get("agent_id")
                if agent_id is None:
                    self._handle.cancel("cancelled from outside")
                    found = True
                else:
                    found = self._handle.cancel_agent(str(agent_id))
                await _send(stream, {"cancelled": found})
            case "events":
                await self._stream_events(stream)
            case "approve":
                await _send(
                    stream, {"error": "unsupported: nothing in this run waits for approval"}
                )
            case other:
                await _send(stream, {"error": f"unknown request {other!r}"})

    async def _stream_events(self, stream: SocketStream) -> None:
        send, receive = anyio.create_memory_object_stream[Event](10_000)
        self.feed.listeners.add(send)
        try:
            async with send, receive:
                async for event in receive:
                    await _send(stream, {"kind": event.kind, **event.fields})
        finally:
            self.feed.listeners.discard(send)


# --- from another process -------------------------------------------------------------------------


def list_runs(home: Path | None = None) -> list[RunInfo]:
    """All runs that left a trace in the state folder, newest first."""
    folder = (home or state_home()) / "runs"
    found = []
    for path in folder.glob("*.json"):
        try:
            info = RunInfo(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if info.status == "running" and not _socket_path(folder, info.run_id).exists():
            info.status = "lost"
        found.append(info)
    return sorted(found, key=lambda info: info.run_id, reverse=True)


def find_run(wanted: str, home: Path | None = None) -> RunInfo:
    """A run by its id, the beginning of it, or `last`.

    Raises:
        UsageError: there is none, or more than one.
    """
    runs = list_runs(home)
    if wanted == "last" and runs:
        return runs[0]
    found = [info for info in runs if wanted and info.run_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(info.run_id for info in found[:5])
        raise UsageError(f"{wanted!r} names {len(found)} runs: {ids}")
    hint = nearest(wanted, [info.run_id for info in runs])
    raise UsageError(f"there is no run {wanted!r}{hint}; `sashizu runs list` shows them")


async def status(wanted: str, home: Path | None = None) -> Mapping[str, Any]:
    """The state of a run: of every agent while it is at work, else how it ended."""
    info = find_run(wanted, home)
    if info.status != "running":
        return asdict(info)
    return await _ask(info.run_id, {"do": "status"}, home)


async def cancel(wanted: str, agent_id: str | None = None, home: Path | None = None) -> bool:
    """End a run, or one agent of it, with reports; False if it is not at work any more."""
    info = find_run(wanted, home)
    if info.status != "running":
        return False
    answer = await _ask(info.run_id, {"do": "cancel", "agent_id": agent_id}, home)
    return bool(answer.get("cancelled"))


async def events(wanted: str, home: Path | None = None) -> AsyncIterator[Mapping[str, Any]]:
    """The events of a run from now until it ends."""
    info = find_run(wanted, home)
    if info.status != "running":
        return
    async with await _connect(info.run_id, home) as stream:
        await _send(stream, {"do": "events"})
        buffer = b""
        async for chunk in stream:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                yield json.loads(line)


async def _ask(run_id: str, request: Mapping[str, Any], home: Path | None) -> Mapping[str, Any]:
    async with await _connect(run_id, home) as stream:
        await _send(stream, request)
        try:
            answer: Mapping[str, Any] = json.loads(await _read_line(stream, limit=1 << 24))
        except (anyio.EndOfStream, ValueError) as error:
            raise SashizuError(f"the run {run_id} did not answer: {error}") from error
    if "error" in answer:
        raise SashizuError(f"the run {run_id} answered: {answer['error']}")
    return answer


async def _connect(run_id: str, home: Path | None) -> SocketStream:
    if not hasattr(socket, "AF_UNIX"):
        raise SashizuError(UNSUPPORTED)
    path = _socket_path((home or state_home()) / "runs", run_id)
    try:
        with _short(path) as short:
            return await anyio.connect_unix(short)
    except OSError as error:
        raise SashizuError(f"the run {run_id} cannot be reached: {error}") from error


# --- the wire -------------------------------------------------------------------------------------


async def _send(stream: SocketStream, value: Mapping[str, Any]) -> None:
    await stream.send(json.dumps(value, default=str).encode() + b"\n")


async def _read_line(stream: SocketStream, limit: int = MAX_REQUEST_BYTES) -> bytes:
    data = b""
    while b"\n" not in data:
        if len(data) > limit:
            raise ValueError("the line is too long")
        data += await stream.receive()
    return data.split(b"\n", 1)[0]


def _socket_path(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.sock"


class _short:  # noqa: N801 - reads as a function
    """A path to a socket that fits into `sockaddr_un` (108 bytes on Linux, 104 elsewhere).

    A longer one is reached through the descriptor of its folder, where the system allows that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < 100 or sys.platform != "linux":
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)


def _same_user(stream: SocketStream) -> bool:
    """Whether the peer runs as our user; the folder's mode says so where the system cannot."""
    if sys.platform != "linux":
        return True
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no database here
    peer = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = int.from_bytes(peer[4:8], sys.byteorder)
    return uid in (os.getuid(), 0)
