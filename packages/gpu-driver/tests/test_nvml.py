"""What GPUs of NVIDIA tell, with a library in place of the driver's that tells what a file says."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sashizu_core.devices import (
    DeviceBackend,
    DeviceError,
    DeviceLost,
    Devices,
    Known,
    Stats,
    Unknown,
)
from sashizu_core.testing import DeviceContract
from sashizu_gpu_driver.nvml.backend import NvmlBackend

HERE = Path(__file__).resolve().parent
GIB = 1024**3
UUID = "GPU-11111111-2222-3333-4444-555555555555"
OTHER = "GPU-99999999-8888-7777-6666-555555555555"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fake library is for Linux")


def _module(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"fake_nvml_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAKE: Any = _module(HERE / "fake_nvml/building.py")

Set = Callable[..., None]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake, loaded before the bindings look for the real one: they then find it by its name."""
    built: Path = FAKE.build(tmp_path_factory.mktemp("nvml"))
    ctypes.CDLL(str(built), ctypes.RTLD_GLOBAL)
    return built


@pytest.fixture
def gpus(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Set:
    """Change the GPUs: `gpus({"0.power": "1000"})`; a value of None takes a line away."""
    file = tmp_path / "nvml.state"
    state = dict(FAKE.ONE_GPU)

    def change(more: Mapping[str, str | None] | None = None) -> None:
        for key, value in (more or {}).items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        FAKE.write_state(file, state)

    change()
    monkeypatch.setenv("FAKE_NVML_STATE", str(file))
    return change


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with the process 4242 in the namespace of the host."""
    proc = tmp_path / "root/proc"
    (proc / "4242").mkdir(parents=True)
    (proc / "4242/comm").write_text("llama-server\n")
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/pid").symlink_to("pid:[4026531836]")
    (proc / "meminfo").write_text("MemTotal:  131072 kB\nMemAvailable:  98304 kB\n")
    return tmp_path / "root"


@pytest.fixture
def nvml(gpus: Set, root: Path) -> Iterator[NvmlBackend]:
    backend = NvmlBackend(root=root)
    assert backend.probe().state == "ok"
    backend.devices()
    yield backend
    backend.close()


class TestNvml(DeviceContract):
    @pytest.fixture
    def backend(self, gpus: Set) -> Iterator[DeviceBackend]:
        backend = NvmlBackend()
        yield backend
        backend.close()


def test_every_field_comes_with_its_unit(nvml: NvmlBackend) -> None:
    stats = nvml.stats(UUID)
    assert {name: stats.number(name) for name in ("busy_percent", "power_w", "energy_j")} == {
        "busy_percent": 37,
        "power_w": 312,
        "energy_j": 123456.789,
    }
    assert stats.number("memory_total_bytes") == 80 * GIB
    assert stats.number("memory_used_bytes") == 20 * GIB
    assert stats.number("memory_reserved_bytes") == GIB
    assert stats.number("temperature_c") == 54
    throttle = stats.get("throttle")
    assert isinstance(throttle, Known)
    assert throttle.value == "power cap"


def test_what_a_gpu_does_not_tell_is_unknown_and_asked_again_only_later(
    gpus: Set, nvml: NvmlBackend, root: Path
) -> None:
    now = [1_000_000_000]
    backend = NvmlBackend(root=root, clock=lambda: now[0])
    backend.probe()
    assert isinstance(backend.stats(UUID).get("fan_percent"), Unknown)
    gpus({"0.fan": "30"})
    assert isinstance(backend.stats(UUID).get("fan_percent"), Unknown)
    now[0] += 61_000_000_000
    assert backend.stats(UUID).number("fan_percent") == 30
    backend.close()


def test_a_gpu_goes_by_its_uuid_and_by_its_address(nvml: NvmlBackend) -> None:
    (device,) = nvml.devices()
    assert (device.id, device.also) == (UUID, ("0000:65:00.0",))
    assert device.memory == "dedicated"


def test_an_old_driver_leaves_used_unknown_because_it_counts_the_reserve(
    gpus: Set, nvml: NvmlBackend
) -> None:
    gpus({"no_memory_v2": "1", "no_temperature_v": "1"})
    stats = nvml.stats(UUID)
    assert stats.number("memory_free_bytes") == 59 * GIB
    used = stats.get("memory_used_bytes")
    assert isinstance(used, Unknown)
    assert "too old" in used.reason
    assert stats.number("temperature_c") == 54


def test_unified_memory_is_that_of_the_machine(gpus: Set, root: Path) -> None:
    gpus({"0.memory": "!3"})
    backend = NvmlBackend(root=root)
    backend.probe()
    (device,) = backend.devices()
    assert device.memory == "unified"
    stats = backend.stats(UUID)
    free = stats.get("memory_free_bytes")
    assert isinstance(free, Known)
    assert (free.value, free.source) == (98304 * 1024, "meminfo")
    backend.close()


def partition(gpus: Set) -> None:
    gpus(
        {
            "0.mig": "7",
            "0.utilization": "!3",
            "0.0.uuid": "MIG-aaaa",
            "0.0.name": "NVIDIA Imaginary 100 MIG 3g.40gb",
            "0.0.memory": f"{40 * GIB} 0 {30 * GIB} {10 * GIB}",
        }
    )


def test_parts_of_a_gpu_are_devices_with_memory_of_their_own(gpus: Set, root: Path) -> None:
    partition(gpus)
    backend = NvmlBackend(root=root)
    backend.probe()
    whole, part = backend.devices()
    assert (part.id, part.parent, whole.parent) == ("MIG-aaaa", UUID, "")
    assert backend.stats("MIG-aaaa").number("memory_total_bytes") == 40 * GIB
    busy = backend.stats("MIG-aaaa").get("busy_percent")
    assert isinstance(busy, Unknown)
    assert "MIG" in busy.reason
    backend.close()


def test_a_partitioned_gpu_is_not_idle_but_unknown(gpus: Set, root: Path) -> None:
    partition(gpus)
    backend = NvmlBackend(root=root)
    backend.probe()
    backend.devices()
    busy = backend.stats(UUID).get("busy_percent")
    assert isinstance(busy, Unknown)
    assert "partitioned" in busy.reason
    backend.close()


def test_processes_have_names_where_their_numbers_are_ours(gpus: Set, nvml: NvmlBackend) -> None:
    gpus({"0.samples": "4242:1000:61 4242:900:3 77:800:200"})
    (process,) = nvml.processes(UUID)  # type: ignore[misc]
    assert (process.pid, process.name, process.ours) == (4242, "llama-server", True)
    assert isinstance(process.used_bytes, Known)
    assert process.used_bytes.value == 18 * GIB
    assert isinstance(process.busy_percent, Known)
    assert process.busy_percent.value == 61


def test_a_sample_is_told_once_and_its_absence_is_not_idleness(
    gpus: Set, nvml: NvmlBackend
) -> None:
    gpus({"0.samples": "4242:1000:61"})
    nvml.processes(UUID)
    (process,) = nvml.processes(UUID)  # type: ignore[misc]
    assert isinstance(process.busy_percent, Unknown)
    assert "no sample" in process.busy_percent.reason


def test_zero_bytes_of_a_process_are_unknown(gpus: Set, nvml: NvmlBackend) -> None:
    gpus({"0.compute": "4242:0", "0.graphics": "4243:-", "0.mps": f"4244:{GIB}"})
    found = {process.pid: process for process in nvml.processes(UUID)}  # type: ignore[union-attr]
    assert isinstance(found[4242].used_bytes, Unknown)
    assert isinstance(found[4243].used_bytes, Unknown)
    assert (found[4244].kind, found[4243].ours) == ("mps", False)


def test_in_a_container_a_number_of_the_host_is_not_taken_for_ours(gpus: Set, root: Path) -> None:
    (root / "proc/self/ns/pid").unlink()
    (root / "proc/self/ns/pid").symlink_to("pid:[4026532999]")
    gpus({"0.compute": f"4242:{GIB} 999:{GIB}"})
    backend = NvmlBackend(root=root)
    backend.probe()
    backend.devices()
    found = {process.pid: process for process in backend.processes(UUID)}  # type: ignore[union-attr]
    assert (found[4242].ours, found[4242].name) == (None, "")
    assert found[999].ours is False
    backend.close()


def two(gpus: Set) -> None:
    gpus(
        {
            "count": "2",
            **{
                f"1.{key[2:]}": value
                for key, value in FAKE.ONE_GPU.items()
                if key.startswith("0.") and key not in ("0.uuid", "0.pci")
            },
            "1.uuid": OTHER,
            "1.pci": "0000:66:00",
        }
    )


def test_one_lost_gpu_leaves_the_other_be(gpus: Set, root: Path) -> None:
    two(gpus)
    backend = NvmlBackend(root=root)
    backend.probe()
    assert len(backend.devices()) == 2
    gpus({"0.fail": "15"})
    with pytest.raises(DeviceLost, match="does not answer"):
        backend.stats(UUID)
    assert backend.stats(OTHER).number("busy_percent") == 37
    snapshot = Devices([backend]).sample()
    assert [device.id for device in snapshot.devices] == [OTHER]
    backend.close()


def test_handles_of_before_a_reset_are_taken_anew(gpus: Set, nvml: NvmlBackend) -> None:
    assert nvml.stats(UUID).number("power_w") == 312
    gpus({"generation": "1", "0.power": "90000"})
    assert nvml.stats(UUID).number("power_w") == 90


def test_a_gpu_that_is_not_there_after_a_reset_is_lost(gpus: Set, nvml: NvmlBackend) -> None:
    gpus({"generation": "1", "count": "0"})
    with pytest.raises(DeviceLost, match="not there any more"):
        nvml.stats(UUID)


def test_an_error_of_a_gpu_is_an_event_once(gpus: Set, nvml: NvmlBackend) -> None:
    assert list(nvml.events()) == []
    gpus({"events": "0:79"})
    (event,) = nvml.events()
    assert (event.kind, event.device, event.code) == ("fault", UUID, 79)
    assert list(nvml.events()) == []


@pytest.mark.parametrize(
    ("code", "state"), [("4", "forbidden"), ("9", "missing"), ("18", "missing")]
)
def test_a_driver_that_does_not_start_is_told_with_what_to_do(
    gpus: Set, root: Path, code: str, state: str
) -> None:
    gpus({"init": code})
    backend = NvmlBackend(root=root)
    probe = backend.probe()
    assert (probe.state, bool(probe.reason), bool(probe.remedy)) == (state, True, True)
    backend.close()


def test_gpus_that_cannot_be_listed_are_an_error_and_not_none(gpus: Set, root: Path) -> None:
    gpus({"init": "9"})
    with pytest.raises(DeviceError, match="cannot be listed"):
        NvmlBackend(root=root).devices()


def test_without_the_library_there_is_no_backend_and_no_crash() -> None:
    code = (
        "from sashizu_gpu_driver.nvml.backend import NvmlBackend\n"
        "probe = NvmlBackend().probe()\n"
        "print(probe.state, probe.reason, sep='|')\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    state, _, reason = ran.stdout.strip().partition("|")
    if state == "ok":
        pytest.skip("this machine has an NVIDIA driver")
    assert state == "missing"
    assert reason


def test_a_field_that_nobody_knows_cannot_be_told() -> None:
    with pytest.raises(ValueError, match="no such field"):
        Stats("x", {"speed": Known(1, "x", 0)})
