"""A program of Windows: actions, the runtime of Windows AI, and our driver, which has to be loaded.

    python three_layers.py FILE

FILE is what the backend `fake` tells its devices from. It prints figures, and fails at what is not
as it should be.
"""

from __future__ import annotations

import os
import sys

import anyio
from sashizu_core.settings import Settings
from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.errors import DriverNotReady
from sashizu_gpu_driver.offers import device_specs
from sashizu_winai.bench.measuring import FAKE_ACTION, Bench, measured
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import Failed, NotReady
from sashizu_winai.fake import FakeBackend
from sashizu_winai.offers import model_specs
from sashizu_winai.runtime import WindowsAiRuntime

FREE = 18 << 20
ROUNDS = 200


async def main(file: str) -> None:
    devices = device_specs(Settings({"gpu": {"native": True, "fake": file}}))
    backend = FakeBackend()
    async with WindowsAiRuntime.open(backend=backend, devices=devices) as runtime:
        probe = await runtime.probe_one(Capability.KERNEL_DRIVER)
        assert probe.ready, probe
        await registered_and_advised(runtime)
        await registered_again(runtime)
        action, inputs = FAKE_ACTION
        outcome = await runtime.invoke_action(action, inputs, timeout=10)
        assert outcome.outputs["text"].value == "hello"
        for figure in await measured(Bench(runtime, ROUNDS, None, *FAKE_ACTION)):
            print(f"{figure.name}: {figure.text()}")
    nothing_is_left()
    (model,) = model_specs(Settings({"winai": {"fake": True}}))
    assert model.probe is not None
    assert (await model.probe()).ready


async def registered_and_advised(runtime: WindowsAiRuntime) -> None:
    """The driver decides from what was just measured, for the ways that were registered."""
    registration = await runtime.register_with_kernel({"cpu", "directml"})
    assert registration.pid == os.getpid()
    advice = await registration.path(FREE)
    assert (advice.path, advice.device, advice.free_bytes) == ("directml", "GPU-1", FREE), advice
    assert (await registration.path(FREE + 1)).path == "cpu"
    with NativeDriver.open() as other:  # who else has it open sees the same
        (sample,) = other.gpus()
        assert (sample.id, sample.paths) == ("GPU-1", {"cuda", "directml"}), sample
        (process,) = other.processes()
        assert (process.pid, process.rules) == (os.getpid(), {"runtime"}), process


async def registered_again(runtime: WindowsAiRuntime) -> None:
    first = await runtime.register_with_kernel({"cpu"})
    second = await runtime.register_with_kernel({"cuda"})
    assert (await second.path()).path == "cuda"
    try:
        await first.path()
    except NotReady:
        pass
    else:
        raise AssertionError("a registration that was replaced still answers")
    try:
        await runtime.register_with_kernel({"no-such-way"})
    except Failed as error:
        print(f"refused: {error}")
    else:
        raise AssertionError("a way that there is not was registered")
    with NativeDriver.open() as other:
        assert list(other.processes()) == []


def nothing_is_left() -> None:
    with NativeDriver.open() as other:
        assert list(other.processes()) == []
        assert other.pool().clients == 1
        try:
            other.gpus()
        except DriverNotReady:
            return
    raise AssertionError("the driver still tells what a collector submitted that is gone")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
    print("all three layers answered")
