"""The runtime and the native driver: registered, advised, measured, and refused in words."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from sashizu_core.devices import (
    Device,
    DeviceBackend,
    DeviceError,
    DeviceSpec,
    Known,
    PathAdvice,
    Probe,
    Stats,
)
from sashizu_core.plugins import Registry
from sashizu_core.settings import Settings
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import Denied, Failed, Missing, NotReady
from sashizu_winai.fake import FakeBackend
from sashizu_winai.offers import model_specs
from sashizu_winai.onnx import probing
from sashizu_winai.runtime import WindowsAiRuntime

FREE = 1 << 30


class Registered:
    pid = 4711

    def __init__(self, driver, paths):
        self._driver, self._paths, self.open = driver, paths, True

    def advise(self, size=0):
        if not self.open:
            raise DeviceError("closed")
        if "cuda" in self._paths and self._driver.heard and size <= FREE:
            return PathAdvice("cuda", "most free", self._driver.heard[0], FREE, 0.5)
        return PathAdvice("cpu", "no room")

    def close(self):
        self.open = False


class Driver(DeviceBackend):
    """Plays the native driver: it decides from what it has heard."""

    name = "native"
    collects = True

    def __init__(self, probe):
        self.found, self.heard, self.registered, self.closed = probe, [], [], False

    def probe(self):
        return self.found

    def devices(self):
        return []

    def stats(self, device):
        raise AssertionError(device)

    def hear(self, told):
        self.heard = [device.id for device, _ in told]

    def register_runtime(self, name, paths):
        if "odd" in paths:
            raise DeviceError("no such way: odd")
        self.registered.append(Registered(self, paths))
        return self.registered[-1]


class Meter(DeviceBackend):
    name = "meter"

    def probe(self):
        return Probe("ok")

    def devices(self):
        return [Device("gpu-0", "Meter", "nvidia")]

    def stats(self, device):
        return Stats(device, {"power_w": Known(12.5, self.name, time.monotonic_ns())})


def spec(backend):
    @contextmanager
    def opened():
        yield backend
        backend.closed = True

    return DeviceSpec(backend.name, "for tests", opened)


@pytest.fixture
def driver():
    return Driver(Probe("ok", "it answers"))


def opened(*backends):
    return WindowsAiRuntime.open(backend=FakeBackend(), devices=[spec(one) for one in backends])


async def test_a_registered_runtime_is_advised_from_what_was_just_measured(driver):
    async with opened(driver, Meter()) as runtime:
        registration = await runtime.register_with_kernel({"cpu", "cuda"})

        assert (registration.pid, registration.paths) == (4711, {"cpu", "cuda"})
        advice = await registration.path(1000)
        assert (advice.path, advice.device, advice.free_bytes) == ("cuda", "gpu-0", FREE)
        assert (await registration.path(FREE + 1)).path == "cpu"
        assert driver.heard == ["gpu-0"]
    assert not driver.registered[0].open
    assert driver.closed


async def test_measurements_name_their_source_with_and_without_the_driver(driver):
    for backends in ([Meter()], [driver, Meter()]):
        async with opened(*backends) as runtime:
            snapshot = await runtime.gpu_stats()
        assert snapshot.stats["gpu-0"].get("power_w").source == "meter"
    assert driver.heard == ["gpu-0"]


async def test_to_register_again_ends_the_earlier_registration(driver):
    async with opened(driver) as runtime:
        first = await runtime.register_with_kernel({"cpu"})
        second = await runtime.register_with_kernel({"cpu"})

        assert [one.open for one in driver.registered] == [False, True]
        with pytest.raises(NotReady, match="was closed"):
            await first.path()
        await second.aclose()
        await second.aclose()
        third = await runtime.register_with_kernel({"cpu"})
        assert (await third.path()).path == "cpu"


async def test_without_the_drivers_package_it_is_missing_and_named():
    async with opened() as runtime:
        with pytest.raises(Missing, match="pip install sashizu-gpu-driver") as caught:
            await runtime.register_with_kernel({"cpu"})
        probe = (await runtime.probe()).of(Capability.KERNEL_DRIVER)
        assert (probe.state, probe.remedy) == ("missing", caught.value.remedy)
        assert (await runtime.gpu_stats()).devices == ()


@pytest.mark.parametrize(("state", "error"), [("missing", Missing), ("forbidden", Denied)])
async def test_a_driver_that_is_not_usable_is_refused_with_its_own_words(state, error):
    async with opened(Driver(Probe(state, "no such device", "load it"))) as runtime:
        with pytest.raises(error, match="no such device; load it"):
            await runtime.register_with_kernel({"cpu"})
        probe = (await runtime.probe()).of(Capability.KERNEL_DRIVER)
    assert (probe.state, probe.reason) == (error.state, "no such device")


async def test_what_the_driver_refuses_is_a_typed_error_and_nothing_stays_registered(driver):
    async with opened(driver) as runtime:
        await runtime.register_with_kernel({"cpu"})
        with pytest.raises(Failed, match="no such way: odd"):
            await runtime.register_with_kernel({"odd"})
    assert [one.open for one in driver.registered] == [False]


async def test_an_answer_that_fails_is_a_typed_error(driver):
    async with opened(driver) as runtime:
        registration = await runtime.register_with_kernel({"cpu"})
        driver.registered[0].close()
        with pytest.raises(Failed, match="closed"):
            await registration.path()


async def test_the_model_of_a_run_is_registered_for_as_long_as_it_is_open(driver, monkeypatch):
    registry = Registry(devices={"native": spec(driver)})
    monkeypatch.setattr("sashizu_core.plugins.open_registry", lambda _: registry)
    (model,) = model_specs(Settings({"winai": {"fake": True}}))

    async with model.open("phi-silica"):
        assert [one.open for one in driver.registered] == [True]
    assert [one.open for one in driver.registered] == [False]

    driver.found = Probe("missing", "not loaded")
    async with model.open("phi-silica") as opened:
        assert opened.info.name == "phi-silica"
    assert len(driver.registered) == 1


class Runtime:
    @staticmethod
    def get_available_providers():
        return ["DmlExecutionProvider", "QNNExecutionProvider", "CPUExecutionProvider", "New"]


async def test_the_ways_of_this_onnx_runtime_are_those_that_are_registered(driver, monkeypatch):
    monkeypatch.setattr(probing, "onnxruntime", lambda: Runtime)
    async with opened(driver) as runtime:
        assert (await runtime.register_with_kernel()).paths == {"cpu", "directml", "npu"}

    def absent():
        raise ImportError

    monkeypatch.setattr(probing, "onnxruntime", absent)
    async with opened(driver) as runtime:
        assert (await runtime.register_with_kernel()).paths == {"cpu"}
