"""What a request of Windows AI costs of ours: action, path of the driver, record.

    uv run python benchmarks/windows_ai.py [--requests 1000] [--folder .]

The fake backend carries the action out at once. The driver is the core of our own, compiled for
this machine and called in this process, so that it costs what its code costs and no way into a
kernel. The record is on the disk of `--folder`, with one wait for it before and one after each
request. Ends with 1 below 300 requests in a second, or where 1 of 100 takes more than 5 ms of ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import anyio
from sashizu_audit.settings import AuditSettings
from sashizu_audit.sink import open_sink
from sashizu_core.devices import DeviceBackend, DeviceSpec
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_gpu_driver.fake import FakeBackend as FakeDevices
from sashizu_gpu_driver.fake import FakeDevice, FakeState
from sashizu_gpu_driver.native.backend import NativeBackend
from sashizu_winai.bench.figure import Figure
from sashizu_winai.bench.measuring import FAKE_ACTION, Bench, TimedRecorder, measured
from sashizu_winai.fake import FakeBackend
from sashizu_winai.runtime import WindowsAiRuntime

CORE = Path(__file__).resolve().parents[1] / "packages/gpu-driver/tests/test_native_driver.py"
LEAST_PER_S, MOST_MS = 300.0, 5.0


def core_of_the_driver() -> ModuleType:
    """What the tests of the driver's client compile and call it with."""
    spec = importlib.util.spec_from_file_location("core_of_the_driver", CORE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def driver(folder: Path) -> Iterator[DeviceBackend]:
    tests = core_of_the_driver()
    bench = tests.Bench(tests.built(folder))
    backend = NativeBackend(bench.open)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def device() -> Iterator[DeviceBackend]:
    readings = {"memory_total_bytes": 8 << 30, "memory_used_bytes": 1 << 30}
    one = FakeDevice(id="gpu-0", name="One", vendor="nvidia", readings=readings)
    yield FakeDevices(FakeState(devices=[one]))


async def requests(count: int, folder: Path) -> list[Figure]:
    devices = [
        DeviceSpec("native", "the core of the driver", lambda: driver(folder)),
        DeviceSpec("fake", "a device", device),
    ]
    async with (
        WindowsAiRuntime.open(backend=FakeBackend(), devices=devices) as runtime,
        open_sink(AuditSettings(dir=str(folder / "audit"))) as sink,
    ):
        context = {"run_id": new_run_id(), "agent_id": new_agent_id()}
        recorder = TimedRecorder([sink], context)
        return list(await measured(Bench(runtime, count, recorder, *FAKE_ACTION)))


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        try:
            figures = anyio.run(requests, asked.requests, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"the core of the driver cannot be built: {error}", file=sys.stderr)
            return 2
    for one in figures:
        print(f"{one.name}: {one.text()}")
    values = next(one.values for one in figures if one.name == "requests")
    kept = values["per_s"] >= LEAST_PER_S and values["without_disk_p99_ms"] <= MOST_MS
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
