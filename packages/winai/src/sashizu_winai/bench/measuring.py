"""Measures one thing after another; what cannot be measured here says why."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol, runtime_checkable

from sashizu_core.errors import SashizuError
from sashizu_core.events import Event
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.protocols import EventSink
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import StepKind

from sashizu_winai.accelerators import Registration
from sashizu_winai.bench.figure import Figure, spread
from sashizu_winai.capabilities import Capability
from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import WindowsAiError
from sashizu_winai.runtime import WindowsAiRuntime

__all__ = ["FAKE_ACTION", "Bench", "TimedRecorder", "measured"]

PROMPT = "Write three sentences about the sea."
LONGEST_S = 60.0
"""Of one invocation."""


@runtime_checkable
class Bare(Protocol):
    """A backend that can also invoke an action with nothing of ours around the projection."""

    async def invoke_bare(self, action_id: str, inputs: Mapping[str, Entity]) -> float:
        """Invoke it; how many seconds that took."""
        ...


class TimedRecorder(Recorder):
    """A recorder that knows how long its disk was waited for, in seconds."""

    __slots__ = ("waited_s",)

    def __init__(self, sinks: Sequence[EventSink], context: Mapping[str, object]) -> None:
        super().__init__(sinks, context)
        self.waited_s = 0.0

    async def durable(self) -> None:
        began = time.perf_counter()
        await super().durable()
        self.waited_s += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured: `action` is invoked `rounds` times, so it had better change nothing.

    `recorder` records the requests, None where nothing can be recorded.
    """

    runtime: WindowsAiRuntime
    rounds: int
    recorder: TimedRecorder | None = None
    action: str = ""
    inputs: Mapping[str, Entity] = field(default_factory=dict)
    prompt: str = PROMPT

    async def invoke(self) -> None:
        """Once, through the runtime."""
        await self.runtime.invoke_action(self.action, self.inputs, timeout=LONGEST_S)


async def measured(bench: Bench) -> Sequence[Figure]:
    """Every figure, in this order: actions, the language model, the driver, requests."""
    rows: dict[str, Callable[[Bench], Awaitable[Figure]]] = {
        "invoke": _invoke,
        "invoke share": _invoke_share,
        "language model": _language_model,
        "driver path": _driver_path,
        "requests": _requests,
    }
    figures = []
    for name, measure in rows.items():
        try:
            figures.append(await measure(bench))
        except SashizuError as error:
            figures.append(Figure(name, unsupported=str(error)))
    return figures


async def _invoke(bench: Bench) -> Figure:
    if why := await _no_action(bench):
        return Figure("invoke", unsupported=why)
    await bench.invoke()  # what is loaded with the first one is not measured
    times = [await _timed(bench.invoke) for _ in range(bench.rounds)]
    return Figure("invoke", spread(times), note=f"{bench.rounds} times {bench.action}")


async def _invoke_share(bench: Bench) -> Figure:
    """Ours and the bare projection by turns, so that a machine that slows down slows both."""
    backend = bench.runtime.backend
    if why := await _no_action(bench):
        return Figure("invoke share", unsupported=why)
    if not isinstance(backend, Bare):
        reason = f"the backend {backend.name!r} has no projection to compare with"
        return Figure("invoke share", unsupported=reason)
    await bench.invoke()
    await backend.invoke_bare(bench.action, bench.inputs)
    ours, bare = [], []
    for _ in range(bench.rounds):
        ours.append(await _timed(bench.invoke))
        bare.append(await backend.invoke_bare(bench.action, bench.inputs))
    values = {"times": median(ours) / median(bare), "bare_p50_ms": median(bare) * 1000}
    return Figure("invoke share", values, note="ours by the bare projection, medians")


async def _language_model(bench: Bench) -> Figure:
    """Windows counts no tokens, so what is measured is text."""
    backend = bench.runtime.backend
    probe = await bench.runtime.probe_one(Capability.LANGUAGE_MODEL)
    if probe.state not in ("ready", "not_ready"):
        return Figure("language model", unsupported=probe.reason)
    await backend.prepare_model()
    pieces: list[tuple[float, int]] = []

    def hear(piece: str) -> None:
        pieces.append((time.perf_counter(), len(piece.encode("utf-8", "surrogatepass"))))

    began = time.perf_counter()
    given = await backend.generate(bench.prompt, json_schema=None, on_text=hear)
    took = time.perf_counter() - began
    if not given.text:
        return Figure("language model", unsupported=f"it gave no text: {given.status}")
    values = {"bytes_per_s": len(given.text.encode("utf-8", "surrogatepass")) / took}
    if pieces:
        values = {"first_text_ms": (pieces[0][0] - began) * 1000, **values}
    note = "tokens per second are unsupported: Windows counts no tokens"
    return Figure("language model", values, note=note)


async def _driver_path(bench: Bench) -> Figure:
    registration = await bench.runtime.register_with_kernel()
    try:
        first = await registration.path()
        times = [await _timed(registration.path) for _ in range(bench.rounds)]
    finally:
        await registration.aclose()
    values = {**spread(times), "per_s": len(times) / sum(times)}
    return Figure("driver path", values, note=f"{first.path}: {first.reason}")


async def _requests(bench: Bench) -> Figure:
    """What an agent's call goes through: intent on disk, action, path, outcome on disk."""
    if why := await _no_action(bench):
        return Figure("requests", unsupported=why)
    recorder = bench.recorder
    if recorder is None:
        return Figure("requests", unsupported="nothing is recorded: pip install sashizu-audit")
    registration, note = await _registered(bench.runtime)
    steps = StepContext(recorder, new_run_id(), new_agent_id())

    async def once() -> None:
        await _request(bench, steps, registration)

    times, own = [], []
    try:
        await once()
        for _ in range(bench.rounds):
            recorder.waited_s = 0.0
            times.append(await _timed(once))
            own.append(times[-1] - recorder.waited_s)
    finally:
        if registration is not None:
            await registration.aclose()
    without = {f"without_disk_{name}": value for name, value in spread(own).items()}
    values = {"per_s": len(times) / sum(times), **spread(times), **without}
    return Figure("requests", values, note=f"action, {note}, and a record on disk before and after")


async def _registered(runtime: WindowsAiRuntime) -> tuple[Registration | None, str]:
    try:
        return await runtime.register_with_kernel(), "path of the driver"
    except WindowsAiError as error:
        return None, f"no path: {error.found}"


async def _request(bench: Bench, steps: StepContext, registration: Registration | None) -> None:
    recorder = steps.recorder
    common = {
        "step": steps.next_seq(),
        "step_kind": StepKind.EFFECT.value,
        "op": "execute_tool",
        "tool": "windows_action",
    }

    async def call() -> None:
        if registration is not None:
            await registration.path()
        await bench.invoke()

    def outcome(_: None, error: BaseException | None, took_ns: int) -> Sequence[Event]:
        status = "ok" if error is None else "error"
        attrs = {"backend": bench.runtime.backend.name}
        fields = {**common, "status": status, "duration_ns": took_ns, "attrs": attrs}
        return [recorder.event("tool.ended", fields)]

    intent = [recorder.event("tool.requested", common)]
    await steps.step(StepKind.EFFECT, intent, call, outcome)


async def _no_action(bench: Bench) -> str:
    """Why no action can be invoked; empty if one can."""
    probe = await bench.runtime.probe_one(Capability.ACTIONS)
    if not probe.ready:
        return probe.reason
    if not bench.action:
        return "name an action that changes nothing: --action ID --input NAME=KIND:VALUE"
    return ""


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


FAKE_ACTION = ("fake.echo", {"text": Entity(EntityKind.TEXT, "hello")})
"""What the fake is asked for where nothing else is named."""
