"""Runs from the outside: list them, look at them, cancel them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio.abc import SocketStream

from sashizu_core.control.handle import RunInfo
from sashizu_core.control.wire import SUPPORTED, read_line, send, short_path, socket_path
from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.home import state_home
from sashizu_core.processes import had_number

__all__ = ["approve", "cancel", "events", "find_run", "list_runs", "running_runs", "status"]

ANSWER_S = 10.0
"""How long a run may take to answer, in seconds."""

_WHOLE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

UNSUPPORTED = "unsupported: this system has no Unix sockets, so a run cannot be reached"


def list_runs(home: Path | None = None) -> list[RunInfo]:
    """All runs that left a trace in the state folder, newest first."""
    folder = (home or state_home()) / "runs"
    return _newest_first(_info(path) for path in folder.glob("*.json"))


def running_runs(home: Path | None = None) -> list[RunInfo]:
    """The runs that are at work, newest first; those that have ended are not looked at."""
    folder = (home or state_home()) / "runs"
    left = "*.sock" if SUPPORTED else "*.json"
    found = _newest_first(_info(path.with_suffix(".json")) for path in folder.glob(left))
    return [info for info in found if info.status == "running"]


def _newest_first(found: Iterable[RunInfo | None]) -> list[RunInfo]:
    known = [info for info in found if info is not None]
    return sorted(known, key=lambda info: info.run_id, reverse=True)


def _info(path: Path) -> RunInfo | None:
    """What a run noted of itself, `lost` where it says that it runs and nobody answers."""
    try:
        info = RunInfo(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if info.status == "running" and not _is_at_work(info, path.parent):
        info.status = "lost"
    return info


def _is_at_work(info: RunInfo, folder: Path) -> bool:
    if SUPPORTED:
        return _answers(socket_path(folder, info.run_id))
    return had_number(info.pid, info.started_at)


def _answers(path: Path) -> bool:
    """Whether somebody listens on a run's socket; the file of one that was killed stays behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            with short_path(path) as short:
                probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # somebody is there who is busy, or whom we may not reach
    return True


def find_run(wanted: str, home: Path | None = None) -> RunInfo:
    """A run by its id, the beginning of it, or `last`.

    Raises:
        UsageError: there is none, or more than one.
    """
    if _WHOLE_ID.fullmatch(wanted):  # the others need not be looked at
        info = _info((home or state_home()) / "runs" / f"{wanted}.json")
        if info is not None and info.run_id == wanted:
            return info
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


async def approve(
    wanted: str,
    question: str,
    answer: Literal["deny", "once", "run"],
    home: Path | None = None,
) -> bool:
    """Answer a question that an agent of a run waits for; False if it does not wait any more.

    `status` lists the questions that do.

    Raises:
        UsageError: there is no such run.
        SashizuError: the run cannot be reached, or asks nobody.
    """
    info = find_run(wanted, home)
    if info.status != "running":
        return False
    request = {"do": "approve", "question": question, "answer": answer}
    return bool((await _ask(info.run_id, request, home)).get("answered"))


async def events(
    wanted: str, home: Path | None = None, *, began: Callable[[], None] | None = None
) -> AsyncGenerator[Mapping[str, Any]]:
    """The events of a run from now until it ends; `began` is called once none is missed."""
    info = find_run(wanted, home)
    if info.status != "running":
        return
    async with await _connect(info.run_id, home) as stream:
        await send(stream, {"do": "events"})
        buffer = b""
        async for chunk in stream:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                told = json.loads(line)
                if "listening" not in told:
                    yield told
                elif began is not None:
                    began()


async def _ask(run_id: str, request: Mapping[str, Any], home: Path | None) -> Mapping[str, Any]:
    try:
        with anyio.fail_after(ANSWER_S):
            return await _asked(run_id, request, home)
    except TimeoutError as error:
        info = find_run(run_id, home)
        raise SashizuError(
            f"the run {run_id} does not answer: its process ({info.pid}) is stopped or stuck; "
            f"`kill {info.pid}` ends it"
        ) from error


async def _asked(run_id: str, request: Mapping[str, Any], home: Path | None) -> Mapping[str, Any]:
    async with await _connect(run_id, home) as stream:
        await send(stream, request)
        try:
            answer: Mapping[str, Any] = json.loads(await read_line(stream, limit=1 << 24))
        except (anyio.EndOfStream, ValueError) as error:
            raise SashizuError(f"the run {run_id} did not answer: {error}") from error
    if "error" in answer:
        raise SashizuError(f"the run {run_id} answered: {answer['error']}")
    return answer


async def _connect(run_id: str, home: Path | None) -> SocketStream:
    if not SUPPORTED:
        raise SashizuError(UNSUPPORTED)
    path = socket_path((home or state_home()) / "runs", run_id)
    try:
        with short_path(path) as short:
            return await anyio.connect_unix(short)
    except OSError as error:
        raise SashizuError(f"the run {run_id} cannot be reached: {error}") from error
