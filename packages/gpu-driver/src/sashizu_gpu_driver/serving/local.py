"""Gives calls of local models their place: waits for it, starts the server, keeps it in use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import anyio
import anyio.to_thread
from sashizu_core.errors import ModelError, SashizuError
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


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of `[models.NAME]` whose server is started here; `need` is in bytes.

    Of two that wait, the one with the lower `rank` is served first. `problem` says why it cannot be
    started at all.
    """

    name: str
    url: str
    local: LocalTable
    need: int
    rank: int = 0
    problem: str = ""

    @property
    def ask(self) -> Ask:
        local = self.local
        # A server of another command is another load, also where it would answer at the same place.
        command = sha256("\0".join((local.on, *(local.start or ()))).encode()).hexdigest()[:16]
        return Ask(
            *(f"{self.url} {command}", self.need, self.name, local.slots or 1, self.rank),
            *(local.measures, local.on),
        )


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of an agent that wants a place since `began`, in seconds of the monotonic clock."""

    model: LocalModel
    agent: str
    told: Callable[[Mapping[str, Any]], None]
    began: float

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self.began


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
        self._owed: deque[Callable[[], object]] = deque()
        self._paying = Lock()

    def governs(self, info: ModelInfo) -> bool:
        return info.provider in self._models

    def place(
        self, info: ModelInfo, told: Callable[[Mapping[str, Any]], None], agent: str = ""
    ) -> AbstractAsyncContextManager[None]:
        """As `sashizu_core.protocols.Admission` has it."""
        return self._place(_Call(self._models[info.provider], agent, told, time.monotonic()))

    @asynccontextmanager
    async def _place(self, call: _Call) -> AsyncIterator[None]:
        if call.model.problem:
            call.told({"outcome": "refused", "reason": call.model.problem})
            raise ModelError(call.model.problem, fault="not_found")
        place = await self._found(call)
        try:
            yield
        finally:
            await self._settled(
                lambda: self._controller.done(place, this_process(), time.monotonic())
            )

    async def _found(self, call: _Call) -> int:
        """Wait for a place, and for its server; the number of the place, which is in use.

        A load that runs out of memory has its call wait anew, for the more that was learned, until
        there is no more to ask for.
        """
        model, told = call.model, call.told
        while True:
            answer, sight = await self._waited(call)
            if answer.outcome == "joined":
                return answer.place
            try:
                result = await self._load(model, answer, sight)
            except BaseException:
                await self._given_back(answer.place)
                raise
            if not result.problem:
                return answer.place
            await self._given_back(answer.place)
            told({"outcome": "failed", "reason": result.problem, "device": answer.device})
            again = result.out_of_memory and self._controller.could_ask_for_more(
                answer.need, sight.cards
            )
            if not again:
                raise ModelError(
                    f"the server of {model.name!r} did not start: {result.problem}",
                    fault="overloaded" if result.out_of_memory else "not_found",
                )

    # --- giving back ------------------------------------------------------------------------------

    async def _given_back(self, place: int) -> None:
        """Give up a place that was just got; what its keeper has is left to that keeper."""

        def back() -> None:
            self._controller.abandon(place, this_process())
            self._controller.done(place, this_process(), time.monotonic())

        await self._settled(back)

    async def _settled(self, owed: Callable[[], object]) -> None:
        """Write to the ledger what is owed to it: now, or when it can next be written to."""
        self._owed.append(owed)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._pay)

    def _pay(self) -> None:
        with self._paying, suppress(SashizuError):
            while self._owed:
                self._owed[0]()
                self._owed.popleft()

    # --- waiting ----------------------------------------------------------------------------------

    async def _waited(self, call: _Call) -> tuple[Answer, Sight]:
        model, spill = call.model, call.model.local.spill_after_s
        number = await self._entered(call)
        last: tuple[object, ...] = ()
        placed = 0
        try:
            while True:
                sight = await anyio.to_thread.run_sync(self._look, model.local.on)
                answer = await anyio.to_thread.run_sync(
                    self._controller.decide, number, sight.cards, time.monotonic()
                )
                placed = answer.place
                if (answer.outcome, answer.reason, answer.position) != last:
                    last = (answer.outcome, answer.reason, answer.position)
                    call.told(_decision(model, answer, call.waited_s))
                if answer.outcome == "refused":
                    raise ModelError(
                        f"{model.name!r} cannot be loaded here: {answer.reason}", fault="not_found"
                    )
                if answer.outcome != "queued":
                    number = placed = 0
                    return answer, sight
                if spill is not None and call.waited_s >= spill:
                    call.told(_decision(model, answer, call.waited_s) | {"outcome": "spilled"})
                    raise ModelError(
                        f"no place for {model.name!r} within {spill:g} s (number "
                        f"{answer.position} of those who wait): {answer.reason}",
                        fault="overloaded",
                    )
                await anyio.sleep(POLL_S)
        finally:
            if number:
                await self._settled(lambda: self._controller.leave(number))
            if placed:
                await self._given_back(placed)

    async def _entered(self, call: _Call) -> int:
        await anyio.to_thread.run_sync(self._pay)
        ask, model = replace(call.model.ask, agent=call.agent), call.model
        try:
            return await anyio.to_thread.run_sync(
                self._controller.enter, ask, this_process(), time.monotonic()
            )
        except QueueFull:
            reason = f"the queue is full: {self._controller.rules.queue} calls wait"
            call.told({"outcome": "refused", "reason": reason, "need": model.need})
            raise ModelError(
                f"{model.name!r} was not asked for: {reason}", fault="overloaded", retry_after_s=10
            ) from None

    # --- loading ----------------------------------------------------------------------------------

    async def _load(self, model: LocalModel, answer: Answer, sight: Sight) -> Told:
        """Start the keeper and its server, and hear whether it answers."""
        device = sight.devices.get(answer.device)
        order = Order(
            ledger=self._ledger.absolute(),
            place=answer.place,
            argv=model.local.start or (),
            env=dict(environment(device, sight.devices.values())),
            url=model.url,
            log=self._ledger.absolute().with_name(_log_name(model.name)),
            start_timeout_s=model.local.start_timeout_s,
            keep_s=model.local.keep_s,
        )
        try:
            process = await anyio.to_thread.run_sync(_started, order)
        except OSError as error:
            return Told(pid=0, problem=f"no process can be started: {error.strerror}")
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
        # Not in a repository: a server may run what it finds in its folder, as `python -m` does.
        cwd=order.ledger.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=os.name == "posix",
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # it has ended, and says nothing on stdout
        process.stdin.write(order.model_dump_json().encode())
    return process


def _log_name(model: str) -> str:
    """A file beside the ledger, whatever a model is called."""
    return f"server-{re.sub(r'[^A-Za-z0-9_.-]', '_', model)[:100]}.log"


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
