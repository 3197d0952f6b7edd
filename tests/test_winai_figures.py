"""What a request of Windows AI costs of ours: action, path, record on a real disk."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from sashizu_audit import plugin as audit
from sashizu_core.devices import DeviceBackend, DeviceSpec, PathAdvice, Probe
from sashizu_core.settings import Settings
from sashizu_winai.bench.measuring import FAKE_ACTION, Bench, TimedRecorder, measured
from sashizu_winai.fake import FakeBackend
from sashizu_winai.runtime import WindowsAiRuntime


class Driver(DeviceBackend):
    name = "native"

    def probe(self):
        return Probe("ok")

    def devices(self):
        return []

    def stats(self, device):
        raise AssertionError(device)

    def register_runtime(self, name, paths):
        return Registered()


class Registered:
    pid = 1

    def advise(self, size=0):
        return PathAdvice("cpu", "no device was submitted")

    def close(self):
        pass


@contextmanager
def driver():
    yield Driver()


@pytest.mark.bench
async def test_three_hundred_requests_a_second_with_little_of_our_own(tmp_path):
    (spec,) = audit.register_sinks(Settings({"audit": {"dir": str(tmp_path / "audit")}}))
    devices = [DeviceSpec("native", "for tests", driver)]
    opening = WindowsAiRuntime.open(backend=FakeBackend(), devices=devices)
    async with spec.open() as sink, opening as runtime:
        bench = Bench(runtime, 200, TimedRecorder([sink], {}), *FAKE_ACTION)
        found = [one for _ in range(8) for one in await measured(bench) if one.name == "requests"]

    assert all("path of the driver" in one.note for one in found)
    per_s = max(one.values["per_s"] for one in found)
    own_ms = min(one.values["without_disk_p99_ms"] for one in found)
    print(f"{per_s:.0f} requests/s, p99 without the disk {own_ms:.2f} ms, the best of 8 rounds")
    assert per_s >= 300
    assert own_ms <= 5
