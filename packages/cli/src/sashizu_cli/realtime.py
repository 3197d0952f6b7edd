"""`run --realtime`: requests as JSON lines, each answered in time or told why not."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sashizu_core.errors import UsageError

from sashizu_cli import render
from sashizu_cli.exits import DEADLINE, FAILED, INTERRUPTED, OK
from sashizu_cli.interrupts import Interrupts
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import one_line
from sashizu_cli.session import Session
from sashizu_cli.stdin_lines import MOST_LINE_BYTES, lines_of

if TYPE_CHECKING:
    from sashizu_core.control import RunHandle
    from sashizu_core.runtime.realtime import Answered, Asking, Summary

    from sashizu_cli.execution import RunRequest

__all__ = ["answer_stream"]

_MOST_TOLD = 200


class _Named(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    id: Annotated[str, Field(max_length=200)] | int


class RequestLine(_Named):
    """One request, as a line of JSON."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, pattern=r"\S")


def answer_stream(request: RunRequest, session: Session, target_ms: float, fd: int = 0) -> int:
    """Answer the requests of a descriptor until it ends or somebody interrupts; the exit code.

    Raises:
        UsageError: the run may cost more than is allowed without an answer.
        SashizuError: nothing could be run, or the record not be written.
    """
    if (request.confirm_above or session.settings.run.confirm_above) and not request.yes:
        raise UsageError(
            "nobody knows how many requests will come, so the run has no worst case to confirm: "
            "limit it with --budget, and say --yes"
        )
    for text in session.settings.warnings:
        render.warning(text)
    stream = _Stream(Interrupts(), fd)
    try:
        found = anyio.run(stream.run, request, session, target_ms)
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    finally:
        gc.unfreeze()
    return stream.concluded(found)


class _Stream:
    """One stream of requests on a descriptor, and its answers on stdout."""

    def __init__(self, interrupts: Interrupts, fd: int) -> None:
        self._interrupts = interrupts
        self._fd = fd
        self._invalid = 0
        self._broken = False

    async def run(self, request: RunRequest, session: Session, target_ms: float) -> Summary:
        from sashizu_core.runtime.realtime import answer_in_time

        gc.freeze()  # a pause of the collector is a late answer
        async with anyio.create_task_group() as group:
            await group.start(self._interrupts.watch)
            found = await answer_in_time(
                self._requests(),
                self._tell,
                agent=request.tasks[0].agent,
                target_s=target_ms / 1000,
                settings=session.settings,
                registry=session.registry,
                budget=request.budget,
                deadline_s=request.deadline_s,
                model=request.model,
                audit=request.audit,
                on_start=partial(self._begin, target_ms),
            )
            group.cancel_scope.cancel()
        return found

    def _begin(self, target_ms: float, handle: RunHandle) -> None:
        """Say that requests are read from now on: to begin takes longer than to answer."""
        self._interrupts.attach(handle)
        self._write({"status": "ready", "run_id": handle.run_id, "target_ms": target_ms})

    def concluded(self, found: Summary) -> int:
        """Tell what became of all requests, for programs and for people; the exit code."""
        if not self._broken:
            self._write(_summary(found, self._invalid))
        render.note(_summary_text(found, self._invalid))
        if self._interrupts.count:
            if sys.platform == "win32":  # a thread still waits for a line, and holds the exit up
                sys.stdout.flush()
                os._exit(INTERRUPTED)
            return INTERRUPTED
        if found.missed or found.failed or self._invalid or (found.stopped and not found.expired):
            return FAILED
        return DEADLINE if found.expired else OK

    async def _requests(self) -> AsyncIterator[Asking]:
        from sashizu_core.runtime.realtime import Asking

        number = 0
        async for line, at in lines_of(self._fd):
            number += 1
            if not line.strip():
                continue
            try:
                found = _understood(line)
            except ValueError as error:
                self._invalid += 1
                said = {"status": "invalid", "line": number, "reason": str(error)}
                self._write({"id": _id_of(line), **said})
            else:
                yield Asking(found.id, found.prompt, at)

    def _tell(self, answered: Answered) -> None:
        self._write(_answer(answered))

    def _write(self, values: Mapping[str, Any]) -> None:
        if self._broken:
            return
        try:
            render.raw(json_text(values))
        except OSError as error:
            if not render.reader_is_gone(error):
                raise
            self._broken = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._interrupts.end("nobody reads the answers any more")


def _understood(line: bytes) -> RequestLine:
    """A line as a request.

    Raises:
        ValueError: says what is wrong with it.
    """
    if len(line) > MOST_LINE_BYTES:
        raise ValueError(f"the line has more than {MOST_LINE_BYTES:,} bytes")
    try:
        return RequestLine.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"][:1]))
        text = f"{where}: {first['msg']}" if where else first["msg"]
        raise ValueError(one_line(text)[:_MOST_TOLD]) from None


def _id_of(line: bytes) -> str | int | None:
    """The id of a line that is no request, if it has one."""
    if len(line) > MOST_LINE_BYTES:
        return None
    try:
        return _Named.model_validate_json(line).id
    except ValidationError:
        return None


def _answer(answered: Answered) -> dict[str, Any]:
    told: dict[str, Any] = {"id": answered.id, "status": answered.status}
    told["ms"] = round(answered.ms, 3)
    texts = {
        "answer": answered.answer if answered.status == "ok" else None,
        "error": answered.error or None,
        "reason": answered.reason or None,
        "agent_id": answered.agent_id,
    }
    return told | {name: text for name, text in texts.items() if text is not None}


def _summary(found: Summary, invalid: int) -> dict[str, Any]:
    return {
        "status": "ended",
        "run_id": found.run_id,
        "requests": found.requests,
        "ok": found.ok,
        "late": found.late,
        "dropped": found.dropped,
        "missed": found.missed,
        "failed": found.failed,
        "invalid": invalid,
        "p50_ms": _rounded(found.p50_ms),
        "p99_ms": _rounded(found.p99_ms),
        "target_ms": found.target_ms,
        "tokens": None if found.budget is None else found.budget.spent.tokens,
        "stopped": found.stopped or None,
    }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)


def _summary_text(found: Summary, invalid: int) -> str:
    parts = [f"{found.ok:,} of {found.requests:,} requests were answered in time"]
    counts = (
        ("late", found.late),
        ("dropped", found.dropped),
        ("failed", found.failed),
        ("not understood", invalid),
    )
    parts += [f"{count:,} {word}" for word, count in counts if count]
    if found.p50_ms is not None and found.p99_ms is not None:
        parts.append(
            f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, target {found.target_ms:g} ms"
        )
    if found.stopped:
        parts.append(f"stopped: {one_line(found.stopped)}")
    return f"{', '.join(parts)}; run {found.run_id}"
