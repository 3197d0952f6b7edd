"""What the kernel tells of AMD's, Intel's and other devices, in folders that look like its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.devices import DeviceBackend, DeviceLost, DeviceProcess, Known, Unknown
from sashizu_core.errors import UsageError
from sashizu_core.testing import DeviceContract
from sashizu_gpu_driver.drm.backend import DrmBackend
from sashizu_gpu_driver.drm.capture import capture, write_tree
from sashizu_gpu_driver.drm.clients import MAJORS, major_of
from sashizu_gpu_driver.drm.fdinfo import parse_client
from sashizu_gpu_driver.drm.regions import Region, i915_memory, xe_memory

GIB = 1024**3
AMD = "0000:03:00.0"
INTEL = "0000:04:00.0"
SECOND = 1_000_000_000


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(f"{content}\n")


def gpu_metrics(format_: int, content: int, *, energy: int = 0, busy: int = 0xFFFF) -> bytes:
    body = bytearray(struct.pack("<HBB", 112, format_, content) + b"\0" * 108)
    struct.pack_into("<H", body, 18, busy)
    struct.pack_into("<Q", body, 24, energy)
    return bytes(body)


def amd_card(root: Path, number: int = 0, address: str = AMD, **more: str) -> Path:
    card = root / f"sys/class/drm/card{number}"
    write(
        card / "device",
        {
            "uevent": f"DRIVER=amdgpu\nPCI_SLOT_NAME={address}",
            "vendor": "0x1002",
            "device": "0x744c",
            "gpu_busy_percent": "4",
            "mem_info_vram_total": "8573157376",
            "mem_info_vram_used": "1490378752",
            "power/runtime_status": "active",
            "gpu_metrics": gpu_metrics(1, 3, energy=1_000_000, busy=7),
            "hwmon/hwmon3/temp1_input": "51000",
            "hwmon/hwmon3/power1_average": "23000000",
            "hwmon/hwmon3/power1_cap": "203000000",
            "hwmon/hwmon3/fan1_input": "1200",
            "hwmon/hwmon3/pwm1": "51",
            "hwmon/hwmon3/pwm1_max": "255",
            "hwmon/hwmon3/freq1_input": "500000000",
            "hwmon/hwmon3/freq2_input": "96000000",
            **{name.replace("__", "/"): value for name, value in more.items()},
        },
    )
    return card


def intel_card(root: Path, driver: str, number: int = 1) -> Path:
    card = root / f"sys/class/drm/card{number}"
    write(
        card,
        {
            "device/uevent": f"DRIVER={driver}\nPCI_SLOT_NAME={INTEL}",
            "device/vendor": "0x8086",
            "device/device": "0x56a0",
            f"device/drm/renderD{128 + number}/dev": "226:129",
            "device/hwmon/hwmon1/energy1_input": "5000000",
        },
    )
    if driver == "i915":
        write(card, {"gt/gt0/rps_act_freq_mhz": "1150", "gt/gt0/throttle_reason_status": "0"})
    else:
        write(
            card / "device/tile0/gt0/freq0",
            {"act_freq": "2050", "throttle/status": "1", "throttle/reason_thermal": "1"},
        )
    return card


def process(root: Path, pid: int, name: str, *fdinfo: str, target: str = "/dev/dri/renderD128"):
    folder = root / f"proc/{pid}"
    write(folder, {"comm": name})
    (folder / "fd").mkdir(exist_ok=True)
    for place, text in enumerate(fdinfo, 3):
        link = folder / f"fd/{place}"
        if not link.is_symlink():
            link.symlink_to(target)
        write(folder / "fdinfo", {str(place): text})


def client(address: str = AMD, number: int = 7, engine_ns: int = 0, **more: str) -> str:
    lines = {
        "drm-driver": "amdgpu",
        "drm-pdev": address,
        "drm-client-id": str(number),
        "drm-engine-gfx": f"{engine_ns} ns",
        "drm-memory-vram": "4096 KiB",
        "drm-memory-gtt": "1 MiB",
        **{key.replace("_", "-"): value for key, value in more.items()},
    }
    return "pos:\t0\nflags:\t02100002\n" + "".join(f"{k}:\t{v}\n" for k, v in lines.items())


def majors(path: str) -> int | None:
    """What `stat` would say, by the name: a test cannot make device nodes."""
    target = str(Path(path).readlink())
    return 226 if target.startswith("/dev/dri/") else 261 if "accel" in target else 1


class Clock:
    def __init__(self) -> None:
        self.now = 100 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:  131072 kB\nMemAvailable:  98304 kB",
            "proc/self/status": "CapEff:\t0000000000000000",
        },
    )
    (tmp_path / "sys/class").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., DrmBackend]


@pytest.fixture
def drm(root: Path, clock: Clock) -> Open:
    def open_(region: Region | None = None) -> DrmBackend:
        return DrmBackend(
            root=root, clock=clock, major=majors, regions=lambda _node, _driver: region
        )

    return open_


class TestDrm(DeviceContract):
    @pytest.fixture
    def backend(self, root: Path) -> DeviceBackend:
        amd_card(root)
        intel_card(root, "xe")
        process(root, 42, "llama-server", client())
        return DrmBackend(root=root, major=majors, regions=lambda _node, _driver: None)


# --- AMD ------------------------------------------------------------------------------------------


def test_files_of_amdgpu_are_told_in_our_units(root: Path, drm: Open) -> None:
    amd_card(root)
    stats = drm().stats(AMD)
    assert {name: stats.number(name) for name in stats.readings} == {
        "busy_percent": 4,
        "memory_total_bytes": 8573157376,
        "memory_used_bytes": 1490378752,
        "memory_free_bytes": 8573157376 - 1490378752,
        "memory_busy_percent": 7,
        "energy_j": pytest.approx(15.259),
        "temperature_c": 51,
        "power_w": 23,
        "power_limit_w": 203,
        "fan_rpm": 1200,
        "fan_percent": 20,
        "clock_core_mhz": 500,
        "clock_memory_mhz": 96,
    }


def test_a_gpu_of_amd_is_known_by_what_rocm_calls_it_too(root: Path, drm: Open) -> None:
    amd_card(root, unique_id="43DB5F0C1A2B3C4D")
    assert drm().devices()[0].also == ("GPU-43db5f0c1a2b3c4d",)


def test_a_gpu_that_always_claims_to_be_busy_is_not_believed(root: Path, drm: Open) -> None:
    amd_card(root, device="0x15dd", gpu_busy_percent="100")
    busy = drm().stats(AMD).get("busy_percent")
    assert isinstance(busy, Unknown)
    assert "whatever it does" in busy.reason


def test_a_gpu_that_is_busy_and_not_known_to_lie_is_believed(root: Path, drm: Open) -> None:
    amd_card(root, gpu_busy_percent="100")
    assert drm().stats(AMD).number("busy_percent") == 100


def test_a_gpu_that_sleeps_is_not_woken(root: Path, drm: Open) -> None:
    card = amd_card(root, power__runtime_status="suspended")
    for sensor in card.glob("device/hwmon/hwmon3/*"):
        sensor.unlink()
        sensor.mkdir()  # reading it would raise
    stats = drm().stats(AMD)
    assert {type(reading) for reading in stats.readings.values()} == {Unknown}
    heat = stats.get("temperature_c")
    assert isinstance(heat, Unknown)
    assert "wake" in heat.reason


@pytest.mark.parametrize(("format_", "content"), [(1, 0), (1, 9), (2, 1), (9, 9)])
def test_layouts_of_metrics_that_are_not_known_are_not_guessed(
    root: Path, drm: Open, format_: int, content: int
) -> None:
    card = amd_card(root)
    (card / "device/gpu_metrics").write_bytes(gpu_metrics(format_, content, energy=99, busy=50))
    stats = drm().stats(AMD)
    assert stats.number("energy_j") is None
    assert stats.number("memory_busy_percent") is None


def test_metrics_that_say_not_available_are_unknown(root: Path, drm: Open) -> None:
    card = amd_card(root)
    (card / "device/gpu_metrics").write_bytes(gpu_metrics(1, 3, energy=2**64 - 1))
    stats = drm().stats(AMD)
    assert stats.number("energy_j") is None
    assert stats.number("memory_busy_percent") is None


@given(st.binary(max_size=200))
def test_no_metrics_make_reading_them_fail(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        card = amd_card(Path(place))
        (card / "device/gpu_metrics").write_bytes(data)
        backend = DrmBackend(root=Path(place), major=majors)
        assert backend.stats(AMD).number("busy_percent") == 4


def test_an_apu_shares_its_memory_with_the_machine(root: Path, drm: Open) -> None:
    card = amd_card(root)
    (card / "device/gpu_metrics").write_bytes(gpu_metrics(2, 2))
    (device,) = drm().devices()
    assert device.memory == "shared"


def test_compute_programs_of_older_kernels_are_found_in_kfd(root: Path, drm: Open) -> None:
    amd_card(root)
    write(
        root / "sys/class/kfd/kfd",
        {
            "topology/nodes/1/gpu_id": "51234",
            "topology/nodes/1/properties": f"location_id {3 << 8}\ndomain 0",
            "proc/77/vram_51234": str(3 * GIB),
        },
    )
    write(root / "proc/77", {"comm": "python"})
    (found,) = drm().processes(AMD)  # type: ignore[misc]
    assert (found.pid, found.kind, found.name) == (77, "compute", "python")
    assert isinstance(found.used_bytes, Known)
    assert found.used_bytes.value == 3 * GIB


# --- Intel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["i915", "xe"])
def test_all_free_without_the_right_to_know_is_unknown(root: Path, drm: Open, driver: str) -> None:
    intel_card(root, driver)
    stats = drm(Region(16 * GIB, 16 * GIB)).stats(INTEL)
    assert stats.number("memory_total_bytes") == 16 * GIB
    for name in ("memory_used_bytes", "memory_free_bytes"):
        reading = stats.get(name)
        assert isinstance(reading, Unknown)
        assert "CAP_PERFMON" in reading.reason


def test_all_free_with_the_right_to_know_is_believed(root: Path, drm: Open) -> None:
    intel_card(root, "xe")
    write(root, {"proc/self/status": f"CapEff:\t{1 << 38:016x}"})
    stats = drm(Region(16 * GIB, 16 * GIB)).stats(INTEL)
    assert stats.number("memory_used_bytes") == 0
    assert stats.number("memory_free_bytes") == 16 * GIB


def test_clocks_and_reasons_of_both_drivers_of_intel(root: Path, drm: Open) -> None:
    intel_card(root, "i915")
    stats = drm().stats(INTEL)
    assert stats.number("clock_core_mhz") == 1150
    throttle = stats.get("throttle")
    assert isinstance(throttle, Known)
    assert throttle.value == "none"


def test_xe_tells_why_it_is_held_down(root: Path, drm: Open) -> None:
    intel_card(root, "xe")
    stats = drm().stats(INTEL)
    throttle = stats.get("throttle")
    assert isinstance(throttle, Known)
    assert (stats.number("clock_core_mhz"), throttle.value) == (2050, "thermal")


def test_power_comes_from_two_looks_at_energy(root: Path, drm: Open, clock: Clock) -> None:
    card = intel_card(root, "xe")
    backend = drm()
    assert isinstance(backend.stats(INTEL).get("power_w"), Unknown)
    clock.now += 2 * SECOND
    write(card, {"device/hwmon/hwmon1/energy1_input": "105000000"})
    power = backend.stats(INTEL).get("power_w")
    assert isinstance(power, Known)
    assert (power.value, power.source) == (50, "drm, from energy")


def test_an_integrated_gpu_uses_the_memory_of_the_machine(root: Path, drm: Open) -> None:
    intel_card(root, "i915")
    backend = drm()
    (device,) = backend.devices()
    assert device.memory == "unified"
    assert backend.stats(INTEL).number("memory_free_bytes") == 98304 * 1024


def test_an_npu_is_busy_by_its_own_counter(root: Path, drm: Open, clock: Clock) -> None:
    accel = root / "sys/class/accel/accel0/device"
    write(
        accel,
        {
            "uevent": f"DRIVER=intel_vpu\nPCI_SLOT_NAME={INTEL}",
            "vendor": "0x8086",
            "device": "0x643e",
            "npu_busy_time_us": "1000000",
            "npu_memory_utilization": "33554432",
        },
    )
    backend = drm()
    (device,) = backend.devices()
    assert (device.kind, device.memory) == ("npu", "unified")
    backend.stats(INTEL)
    clock.now += SECOND
    write(accel, {"npu_busy_time_us": "1250000"})
    stats = backend.stats(INTEL)
    assert stats.number("busy_percent") == 25
    assert stats.number("memory_used_bytes") == 33554432


def answering(reply: bytes, size_at: int, *, item: bool) -> Callable[[int, int, bytearray], None]:
    """A driver that answers a query: first with the size of its answer, then with the answer."""
    import ctypes

    def call(_fd: int, _request: int, buffer: bytearray) -> None:
        where = struct.unpack_from("<Q", buffer, 8)[0] if item else 0
        text = ctypes.string_at(where, 24) if item else bytes(buffer)
        if struct.unpack_from("<I", text, size_at)[0] == 0:
            size = struct.pack("<I", len(reply))
            if item:
                ctypes.memmove(where + size_at, size, 4)
            else:
                buffer[size_at : size_at + 4] = size
        else:
            ctypes.memmove(struct.unpack_from("<Q", text, 16)[0], reply, len(reply))

    return call


def test_regions_of_xe_are_added_up_without_those_of_the_machine() -> None:
    def region(kind: int, total: int, used: int) -> bytes:
        return struct.pack("<HHIQQ", kind, 0, 4096, total, used) + b"\0" * 64

    reply = struct.pack("<II", 3, 0) + region(0, 64 * GIB, 0) + region(1, 8 * GIB, GIB) * 2
    assert xe_memory(-1, answering(reply, 12, item=False)) == Region(16 * GIB, 14 * GIB)


def test_regions_of_i915_are_added_up_without_those_of_the_machine() -> None:
    def region(kind: int, total: int, free: int) -> bytes:
        return struct.pack("<HHIQQ", kind, 0, 0, total, free) + b"\0" * 64

    reply = struct.pack("<IIII", 2, 0, 0, 0) + region(0, 64 * GIB, 0) + region(1, 8 * GIB, 7 * GIB)
    assert i915_memory(-1, answering(reply, 8, item=True)) == Region(8 * GIB, 7 * GIB)


def test_a_driver_that_answers_nonsense_is_refused() -> None:
    def call(_fd: int, _request: int, buffer: bytearray) -> None:
        buffer[12:16] = struct.pack("<I", 2**31)

    with pytest.raises(OSError, match="wants to answer"):
        xe_memory(-1, call)


# --- clients --------------------------------------------------------------------------------------


def test_busy_is_the_busiest_engine_over_all_clients(root: Path, drm: Open, clock: Clock) -> None:
    card = amd_card(root)
    (card / "device/gpu_busy_percent").unlink()
    process(root, 42, "one", client(number=7))
    process(root, 43, "two", client(number=8))
    backend = drm()
    assert isinstance(backend.stats(AMD).get("busy_percent"), Unknown)
    clock.now += SECOND
    process(root, 42, "one", client(number=7, engine_ns=300_000_000))
    process(root, 43, "two", client(number=8, engine_ns=250_000_000))
    assert backend.stats(AMD).number("busy_percent") == 55


def of(backend: DrmBackend, address: str = AMD) -> dict[int, DeviceProcess]:
    found = backend.processes(address)
    assert not isinstance(found, Unknown)
    return {one.pid: one for one in found}


def test_a_client_that_two_processes_share_counts_once(root: Path, drm: Open) -> None:
    amd_card(root)
    process(root, 42, "parent", client(number=7), client(number=7))
    process(root, 43, "child", client(number=7))
    found = of(drm())
    assert list(found) == [42]
    used = found[42].used_bytes
    assert isinstance(used, Known)
    assert used.value == 4096 * 1024


def test_a_counter_that_goes_back_is_no_negative_work(root: Path, drm: Open, clock: Clock) -> None:
    amd_card(root)
    backend = drm()
    percents = []
    for count in (500_000_000, 400_000_000, 600_000_000):
        process(root, 42, "one", client(engine_ns=count))
        reading = of(backend)[42].busy_percent
        percents.append(reading.value if isinstance(reading, Known) else None)
        clock.now += SECOND
    assert percents == [None, 0, 10]


def test_capacity_is_how_many_engines_there_are(root: Path, drm: Open, clock: Clock) -> None:
    amd_card(root)
    backend = drm()
    for count in (0, SECOND):
        process(root, 42, "one", client(engine_ns=count) + "drm-engine-capacity-gfx:\t2\n")
        found = of(backend)
        clock.now += SECOND
    busy = found[42].busy_percent
    assert isinstance(busy, Known)
    assert busy.value == 50


def test_engines_of_xe_count_cycles_of_their_own(root: Path, drm: Open, clock: Clock) -> None:
    intel_card(root, "xe")
    backend = drm()
    for cycles, total in ((100, 1000), (300, 2000)):
        text = (
            f"drm-driver:\txe\ndrm-pdev:\t{INTEL}\ndrm-client-id:\t3\n"
            f"drm-cycles-ccs:\t{cycles}\ndrm-total-cycles-ccs:\t{total}\n"
            "drm-total-vram0:\t2 GiB\ndrm-resident-vram0:\t1 GiB\ndrm-resident-gtt:\t5 GiB\n"
        )
        process(root, 42, "one", text)
        found = of(backend, INTEL)
        clock.now += SECOND
    busy, used = found[42].busy_percent, found[42].used_bytes
    assert isinstance(busy, Known)
    assert busy.value == 20
    assert isinstance(used, Known)
    assert used.value == GIB


def test_without_the_right_to_look_a_device_is_not_idle_but_unknown(
    root: Path, drm: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    card = amd_card(root)
    (card / "device/gpu_busy_percent").unlink()
    process(root, 42, "one", client())
    process(root, 99, "of-somebody-else", client(number=9))
    listdir = os.listdir

    def refused(path: Path | str) -> list[str]:
        if str(path).endswith("99/fd"):
            raise PermissionError(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    backend = drm()
    busy = backend.stats(AMD).get("busy_percent")
    assert isinstance(busy, Unknown)
    assert "1 processes may not be looked into" in busy.reason
    assert list(of(backend)) == [42]


def test_npus_are_found_by_their_own_major(root: Path, drm: Open) -> None:
    write(
        root / "sys/class/accel/accel0/device",
        {"uevent": f"DRIVER=amdxdna\nPCI_SLOT_NAME={AMD}", "vendor": "0x1022", "device": "0x17f0"},
    )
    text = f"drm-driver:\tamdxdna\ndrm-pdev:\t{AMD}\ndrm-client-id:\t1\ndrm-total-memory:\t8 MiB\n"
    process(root, 42, "npu-program", text, target="/dev/accel/accel0")
    assert list(of(drm())) == [42]
    assert {226, 261} == MAJORS


def test_a_descriptor_of_another_device_is_not_read(root: Path, drm: Open) -> None:
    amd_card(root)
    process(root, 42, "liar", client(), target="/dev/null")
    assert of(drm()) == {}
    assert major_of("/dev/null") == 1
    assert major_of("/proc") is None


def test_everything_is_searched_only_now_and_then(root: Path, drm: Open, clock: Clock) -> None:
    amd_card(root)
    backend = drm()
    assert of(backend) == {}
    process(root, 42, "late", client())
    clock.now += SECOND
    assert of(backend) == {}
    clock.now += 5 * SECOND
    assert list(of(backend)) == [42]


def test_a_device_that_goes_is_lost_and_the_others_stay(root: Path, drm: Open) -> None:
    import shutil

    card = amd_card(root)
    intel_card(root, "xe")
    backend = drm()
    assert len(backend.devices()) == 2
    shutil.rmtree(card)
    with pytest.raises(DeviceLost):
        backend.stats(AMD)
    assert backend.stats(INTEL).device == INTEL


def test_the_driver_of_nvidia_tells_nothing_here(root: Path, drm: Open) -> None:
    write(
        root / "sys/class/drm/card0/device",
        {"uevent": f"DRIVER=nvidia\nPCI_SLOT_NAME={AMD}", "vendor": "0x10de", "device": "0x2330"},
    )
    assert drm().probe().state == "missing"


def test_a_machine_without_a_gpu_has_none(root: Path, drm: Open) -> None:
    assert drm().probe().reason == "the kernel has no driver for a GPU or NPU"


@pytest.mark.parametrize(
    ("value", "size"), [("0", 0), ("4 MiB", 4 * 1024**2), ("4096 KiB", 4 * 1024**2), ("7", 7)]
)
def test_sizes_come_with_and_without_units(value: str, size: int) -> None:
    found = parse_client(f"drm-driver:\tx\ndrm-total-vram:\t{value}\n")
    assert found is not None
    assert found.regions == {"vram": size}


def test_a_size_in_a_unit_that_nobody_knows_is_left_out() -> None:
    found = parse_client("drm-driver: x\ndrm-total-vram: 4 XiB\ndrm-total-local0: many\n")
    assert found is not None
    assert found.regions == {}
    assert found.local is None


def test_only_regions_of_the_device_are_its_memory() -> None:
    sizes = {
        "memory": 1, "vram": 2, "vram0": 4, "local0": 8, "gtt": 16,
        "system": 32, "cpu": 64, "stolen": 128, "stolen-local0": 256,
    }  # fmt: skip
    text = "".join(f"drm-resident-{name}: {size}\n" for name, size in sizes.items())
    found = parse_client(f"drm-driver: x\n{text}")
    assert found is not None
    assert found.local == 2 + 4 + 8 + 256
    assert found.all_bytes == sum(sizes.values())


@given(st.text(max_size=400))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    parse_client(f"drm-driver: x\n{text}")
    parse_client(text)


@given(st.lists(st.sampled_from(["drm-", "driver", ":", " ", "engine-", "cycles-", "total-", "9",
                                 "KiB", "\n", "vram", "-"]), max_size=60))  # fmt: skip
def test_no_mix_of_keys_makes_the_parser_fail(parts: list[str]) -> None:
    found = parse_client("drm-driver: x\n" + "".join(parts))
    assert found is not None
    assert all(size >= 0 for size in found.regions.values())


# --- captured -------------------------------------------------------------------------------------


def test_what_is_captured_reads_the_same_elsewhere_and_names_nobody(
    root: Path, drm: Open, clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    card = amd_card(root)
    write(card / "device", {"unique_id": "5ecre7", "serial_number": "5ecre7"})
    intel_card(root, "xe")
    process(root, 4711, "secret-project", client(number=70) + "exe:\t/home/somebody\n")
    captured = capture(root, major=majors)
    text = json.dumps(captured)
    assert not [word for word in ("5ecre7", "4711", "secret", "somebody") if word in text]
    there = tmp_path_factory.mktemp("there")
    write_tree(json.loads(text), there)
    backend = DrmBackend(root=there, clock=clock, major=majors, regions=lambda _node, _driver: None)
    assert backend.stats(AMD).readings == drm().stats(AMD).readings
    assert backend.stats(INTEL).number("clock_core_mhz") == 2050
    assert list(of(backend)) == [1000]


@pytest.mark.parametrize(
    "captured",
    [
        {"format": 9},
        {"format": 1, "files": {"../../etc/passwd": "x"}, "links": {}},
        {"format": 1, "files": {"/etc/passwd": "x"}, "links": {}},
        {"format": 1, "files": {"proc/../../x": "x"}, "links": {}},
        {"format": 1, "files": {}, "links": {"etc/x": "/"}},
    ],
)
def test_a_capture_writes_nowhere_else(captured: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_tree(captured, tmp_path / "there")
    assert not list(tmp_path.rglob("*"))
