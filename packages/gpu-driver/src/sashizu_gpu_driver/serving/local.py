"""Gives calls of local models their place: waits for it, starts the server, keeps it in use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from sashizu_core.errors import ModelError
from sashizu_core.local_models import LocalTable
from sashizu_core.processes import this_process
from sashizu_core.types import ModelInfo

from sashizu_gpu_driver.admission.asked import Answer, Ask
from sashizu_gpu_driver.admission.controller import Controller, QueueFull
from sashizu_gpu_driver.serving.looking import Sight
from sashizu_gpu_driver.serving.order import Order, Told
from sashizu_gpu_driver.serving.placement import environment

__all__ = ["LocalAdmission", "LocalModel"]

POLL_S = 0.25
LOADS = 2
"""How often a load that runs out of memory is tried before the call fails."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of `[models.NAME]` whose server is started here; `need` is in bytes.

    Of two that wait, the one with the lower `rank` is served first.
    """

    name: str
    url: str
    local: LocalTable
    need: int
    rank: int = 0

    @property
    def ask(self) -> Ask:
        local = self.local
        return Ask(self.url, self.need, self.name, local.slots or 1, self.rank, local.measures)


class LocalAdmission:
    """The admission of one process. `look` blocks, and says what is there for `gpu` or `host`."""

    def __init__(
        self,
        controller: Controller,
        ledger: Path,
        models: Mapping[str, LocalModel],
        look: Callable[[str], Sight],
    ) -> None:
        self._controller = controller
        self._ledger = ledger
        self._models = models
        self._look = look

    def governs(self, info: ModelInfo) -> bool:
        return info.provider in self._models

    def place(
        self, info: ModelInfo, told: Callable[[Mapping[str, Any]], None]
    ) -> AbstractAsyncContextManager[None]:
        """As `sashizu_core.protocols.Admission` has it."""
        return self._place(self._models[info.provider], told)

    @asynccontextmanager
    async def _place(
        self, model: LocalModel, told: Callable[[Mapping[str, Any]], None]
    ) -> AsyncIterator[None]:
        place = await self._found(model, told)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(
                    self._controller.done, place, this_process(), time.monotonic()
                )

    async def _found(self, model: LocalModel, told: Callable[[Mapping[str, Any]], None]) -> int:
        """Wait for a place, and for its server; the number of the place, which is in use."""
        began = time.monotonic()
        for attempt in range(1, LOADS + 1):
            answer, sight = await self._waited(model, told, began)
            if answer.outcome == "joined":
                return answer.place
            result = await self._load(model, answer, sight)
            if not result.problem:
                return answer.place
            again = result.out_of_memory and attempt < LOADS
            told({"outcome": "failed", "reason": result.problem, "device": answer.device})
            if not again:
                raise ModelError(
                    f"the server of {model.name!r} did not start: {result.problem}",
                    fault="overloaded" if result.out_of_memory else "not_found",
                )
        raise AssertionError("unreachable")

    # --- waiting ----------------------------------------------------------------------------------

    async def _waited(
        self, model: LocalModel, told: Callable[[Mapping[str, Any]], None], began: float
    ) -> tuple[Answer, Sight]:
        now, spill = time.monotonic(), model.local.spill_after_s
        try:
            number = await anyio.to_thread.run_sync(
                self._controller.enter, model.ask, this_process(), now
            )
        except QueueFull:
            told({"outcome": "refused", "reason": "the queue is full", "need": model.need})
            raise ModelError(
                f"too many calls wait for local models; {model.name!r} was not asked for",
                fault="overloaded",
                retry_after_s=10,
            ) from None
        last: tuple[object, ...] = ()
        try:
            while True:
                sight = await anyio.to_thread.run_sync(self._look, model.local.on)
                answer = await anyio.to_thread.run_sync(
                    self._controller.decide, number, sight.cards, time.monotonic()
                )
                if (answer.outcome, answer.reason, answer.position) != last:
                    last = (answer.outcome, answer.reason, answer.position)
                    told(_decision(model, answer, time.monotonic() - began))
                if answer.outcome == "refused":
                    raise ModelError(
                        f"{model.name!r} cannot be loaded here: {answer.reason}", fault="not_found"
                    )
                if answer.outcome != "queued":
                    number = 0
                    return answer, sight
                if spill is not None and time.monotonic() - began >= spill:
                    told({"outcome": "spilled", "reason": answer.reason, "waited_s": spill})
                    raise ModelError(
                        f"no place for {model.name!r} within {spill:g} s: {answer.reason}",
                        fault="overloaded",
                    )
                await anyio.sleep(POLL_S)
        finally:
            if number:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._controller.leave, number)

    # --- loading ----------------------------------------------------------------------------------

    async def _load(self, model: LocalModel, answer: Answer, sight: Sight) -> Told:
        """Start the keeper and its server, and hear whether it answers."""
        device = sight.devices.get(answer.device)
        order = Order(
            ledger=self._ledger,
            place=answer.place,
            argv=model.local.start or (),
            env=dict(environment(device)),
            url=model.url,
            log=self._ledger.with_name(f"server-{model.name}.log"),
            start_timeout_s=model.local.start_timeout_s,
            keep_s=model.local.keep_s,
        )
        process = await anyio.to_thread.run_sync(_started, order)
        try:
            line = await anyio.to_thread.run_sync(_first_line, process, abandon_on_cancel=True)
        except BaseException:
            process.terminate()
            raise
        finally:
            _reaped_later(process)
        if not line:
            return Told(pid=0, problem="the process that keeps it ended without a word")
        return Told.model_validate_json(line)


def _decision(model: LocalModel, answer: Answer, waited_s: float) -> dict[str, Any]:
    """A decision with all its numbers, as JSON values."""
    told: dict[str, Any] = {
        "outcome": answer.outcome,
        "reason": answer.reason,
        "model": model.name,
        "need": answer.need,
        "waited_s": round(waited_s, 3),
        "devices": [asdict(numbers) for numbers in answer.numbers],
    }
    if answer.device:
        told["device"] = answer.device
    if answer.position:
        told["position"] = answer.position
    return told


def _started(order: Order) -> subprocess.Popen[bytes]:
    # Without -P whoever may write to the folder would choose what runs here.
    command = [sys.executable, "-P", "-m", "sashizu_gpu_driver.serving.keeper"]
    process = subprocess.Popen(  # noqa: S603 - our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=os.name == "posix",
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(order.model_dump_json().encode())
    return process


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def _reaped_later(process: subprocess.Popen[bytes]) -> None:
    """Wait for the keeper in a thread that ends with it; it may outlive this process."""
    import threading

    def wait() -> None:
        with process:
            process.wait()

    threading.Thread(target=wait, name="keeper", daemon=True).start()
