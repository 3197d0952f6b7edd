"""The client and the backend on the core of the driver, compiled for this machine."""

import ctypes
import importlib.util
import mmap
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sashizu_core.devices import Device, Devices, Known, Stats
from sashizu_core.testing import DeviceContract
from sashizu_gpu_driver.fake import FakeBackend, FakeDevice, FakeProcess, FakeState
from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.backend import NativeBackend
from sashizu_gpu_driver.native.collecting import sampled
from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.errors import (
    DriverAbsent,
    DriverError,
    DriverForbidden,
    DriverFull,
    DriverMismatch,
    DriverNotReady,
    DriverTimeout,
    DriverUnknown,
    refused,
)
from sashizu_gpu_driver.native.transport import open_transport
from sashizu_gpu_driver.native.values import GpuSample

NATIVE = Path(__file__).resolve().parent.parent / "native"
FLAGS = ("-shared", "-fPIC", "-g", "-O1", "-Wall", "-Wextra", "-Werror")
MIB = 1 << 20


def _checks():
    spec = importlib.util.spec_from_file_location(
        "driver_checks", NATIVE / "tests" / "driver_checks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checks = _checks()


class BenchOs(ctypes.Structure):
    """`struct bench_os` of native/tests/bench_os.h."""

    _fields_ = (
        ("now", ctypes.c_uint64),
        ("ticket", ctypes.c_void_p),
        ("allocated", ctypes.c_int32),
        ("allocations_left", ctypes.c_int32),
        ("caller", ctypes.c_uint32),
        ("hidden", ctypes.c_uint32),
        ("foreign", ctypes.c_uint32),
        ("references", ctypes.c_int32 * 1024),
        ("nice", ctypes.c_int32 * 1024),
        ("alive", ctypes.c_uint8 * 1024),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler: install gcc")
    return built(tmp_path_factory.mktemp("core"))


def built(folder):
    """The core, compiled into that folder for this machine."""
    file = folder / "core.so"
    sources = [*sorted((NATIVE / "core").glob("*.c")), NATIVE / "tests" / "bench_os.c"]
    subprocess.run(["cc", *FLAGS, "-o", str(file), *map(str, sources)], check=True)
    core = ctypes.CDLL(str(file))
    core.bench_driver.restype = core.szd_open.restype = ctypes.c_void_p
    core.bench_driver.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32]
    core.szd_open.argtypes = [ctypes.c_void_p]
    core.szd_close.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    core.szd_slot_cancel.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    core.bench_call.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p),
        *(ctypes.c_size_t, ctypes.c_void_p),
    ]
    return core


class Bench:
    """One driver without a system around it; nothing of it may be left at the end."""

    def __init__(self, library):
        self.library = library
        library.bench_reset()
        self.os = BenchOs.in_dll(library, "bench_os")
        self.driver = library.bench_driver(4 * MIB, 2 * MIB, 1)
        self.handles = []

    def open(self):
        return NativeDriver(self.transport())

    def transport(self):
        self.handles.append(CoreTransport(self))
        return self.handles[-1]

    def end(self):
        for handle in self.handles:
            handle.close()
        assert self.os.allocated == 0
        assert not any(self.os.references)
        assert not any(self.os.nice)


class CoreTransport:
    def __init__(self, bench):
        self.bench = bench
        self.client = bench.library.szd_open(bench.driver)
        assert self.client

    def call(self, function, frame):
        core, bench = self.bench.library, self.bench
        waiter = ctypes.c_int32(0)
        words = (function & 0xFF, ctypes.byref(frame), ctypes.sizeof(frame))
        status = core.bench_call(bench.driver, self.client, *words, ctypes.byref(waiter))
        if status == -1:  # nobody else can let us go on: the time is over at once
            assert core.szd_slot_cancel(bench.driver, bench.os.ticket)
            status = abi.Status.TIMEOUT
        if status:
            raise refused(function.name, abi.Status(status))

    def map(self, place):
        return mmap.mmap(-1, place.bytes)

    def fileno(self):
        return -1

    def close(self):
        if self.client:
            self.bench.library.szd_close(self.bench.driver, self.client)
            self.client = None


@pytest.fixture
def bench(library):
    made = Bench(library)
    yield made
    made.end()


class TestCore(checks.DriverChecks):
    @pytest.fixture
    def open_driver(self, bench):
        return bench.open


class TestBackend(DeviceContract):
    @pytest.fixture
    def backend(self, bench):
        collector = bench.open()
        collector.submit([GpuSample("gpu-0", "First"), GpuSample("gpu-1", "Second", power_w=3.5)])
        backend = NativeBackend(bench.open)
        yield backend
        backend.close()


def test_the_age_grows_with_the_drivers_own_clock(bench):
    driver = bench.open()
    driver.submit([GpuSample("gpu", "One", age_s=1.5)])
    bench.os.now += 10**9
    assert driver.gpus()[0].age_s == 2.5


def test_a_sample_is_too_old_to_act_on_after_five_seconds(bench):
    driver = bench.open()
    driver.register_runtime("runtime", frozenset({"cuda"}))
    driver.submit([GpuSample("gpu", "One", memory_total=9, memory_used=1, paths={"cuda"})])
    bench.os.now += 5 * 10**9
    assert driver.best_path().path == "cuda"
    bench.os.now += 1
    assert driver.best_path().path == "cpu"


def test_another_device_in_the_same_place_has_no_processes_of_the_old_one(bench):
    driver = bench.open()
    driver.submit([GpuSample("old", "One")])
    driver.submit_processes(0, [(7, 1), (8, 2)])
    assert [one.pid for one in driver.processes()] == [7, 8]
    driver.submit([GpuSample("old", "One")])
    assert len(list(driver.processes())) == 2
    driver.submit([GpuSample("new", "One")])
    assert list(driver.processes()) == []


def test_many_processes_come_in_pages_without_loss_or_repetition(bench):
    driver = bench.open()
    driver.submit([GpuSample("gpu", "One")])
    assert driver.submit_processes(0, [(pid, pid) for pid in range(200, 300)]) == 100
    bench.os.alive[250] = 0
    bench.os.hidden = 251
    found = list(driver.processes())
    assert [one.pid for one in found] == [*range(200, 250), *range(252, 300)]
    assert all(one.gpu_bytes == one.pid for one in found)
    bench.os.alive[250] = 1
    with pytest.raises(DriverFull):
        driver.submit_processes(0, [(300 + n % 50, 1) for n in range(257)])


def test_the_list_can_change_between_two_pages(bench):
    driver = bench.open()
    driver.submit([GpuSample("gpu", "One")])
    driver.submit_processes(0, [(pid, 1) for pid in range(200, 240)])
    pages = driver.processes()
    seen = [next(pages).pid for _ in range(16)]
    driver.submit_processes(0, [(pid, 1) for pid in range(210, 250)])
    seen += [one.pid for one in pages]
    assert len(set(seen)) == len(seen)
    assert set(range(210, 240)) <= set(seen)


def test_a_foreign_process_gets_no_hint_and_one_that_ended_is_forgotten(bench):
    driver = bench.open()
    bench.os.foreign = 9
    with pytest.raises(DriverForbidden):
        driver.hint(5, 9)
    with pytest.raises(DriverUnknown):
        driver.hint(5, 2000)
    for pid in range(200, 264):
        driver.hint(5, pid)
    with pytest.raises(DriverFull):
        driver.hint(5, 300)
    bench.os.alive[200] = 0
    driver.hint(5, 300)
    assert driver.scheduler().hints == 64


def test_a_level_that_someone_else_changed_is_left_as_it_is(bench):
    driver = bench.open()
    driver.hint(5)
    bench.os.nice[100] = 12
    driver.unhint()
    assert bench.os.nice[100] == 12
    bench.os.nice[100] = 0


@pytest.mark.parametrize("left", range(4))
def test_without_memory_nothing_is_half_done(bench, left):
    driver = bench.open()
    driver.submit([GpuSample("gpu", "One")])
    bench.os.allocations_left = left
    results = []
    for attempt in (
        lambda: driver.allocate(MIB).close(),
        lambda: driver.hint(5, 7),
        lambda: driver.submit_processes(0, [(11, 1), (12, 1), (13, 1), (14, 1)]),
        driver.wait_turn,
    ):
        try:
            attempt()
            results.append("done")
        except DriverFull:
            results.append("full")
    assert "full" in results
    assert driver.pool().used == 0


def test_turns_go_by_priority_and_then_in_order(bench, library):
    holder, order = bench.open(), []
    turn = holder.wait_turn()
    waiters = []
    for priority in (0, 5, 9, 5):
        client, waiter = bench.transport(), ctypes.c_int32(0)
        frame = abi.Slot(ctypes.sizeof(abi.Slot), abi.ABI, priority, 1000)
        words = (abi.SLOT_WAIT & 0xFF, ctypes.byref(frame), ctypes.sizeof(frame))
        status = library.bench_call(bench.driver, client.client, *words, ctypes.byref(waiter))
        assert status == -1
        waiters.append((client, waiter))
    assert holder.scheduler().waiting == 4
    bench.os.now += 3 * 10**9
    holder.end_turn(turn)
    while len(order) < 4:
        (at,) = [n for n, (_, waiter) in enumerate(waiters) if waiter.value and n not in order]
        order.append(at)
        waiters[at][0].close()
    assert order == [2, 1, 3, 0]
    seen = holder.scheduler()
    assert (seen.granted, seen.running, seen.waiting) == (5, 0, 0)
    assert (seen.waited_s, seen.longest_s) == (12.0, 3.0)


def test_a_waiter_that_left_does_not_hold_up_the_next(bench, library):
    holder = bench.open()
    turn = holder.wait_turn()
    gone, next_one = ctypes.c_int32(1), ctypes.c_int32(0)
    for waiter in (gone, next_one):
        frame = abi.Slot(ctypes.sizeof(abi.Slot), abi.ABI, 0, 1000)
        words = (abi.SLOT_WAIT & 0xFF, ctypes.byref(frame), ctypes.sizeof(frame))
        client = bench.transport()
        library.bench_call(bench.driver, client.client, *words, ctypes.byref(waiter))
    holder.end_turn(turn)
    assert next_one.value == 1
    assert holder.scheduler().cancelled == 1


def test_a_driver_of_another_version_is_not_spoken_to(bench):
    class Newer(CoreTransport):
        def call(self, function, frame):
            super().call(function, frame)
            frame.driver_abi = 2 << 16

    bench.handles.append(Newer(bench))
    with pytest.raises(DriverMismatch, match=r"speaks 2\.0, this package 1\.x"):
        NativeDriver(bench.handles[-1])
    assert bench.handles[-1].client is None


def test_a_feature_that_is_missing_is_not_asked_for(bench):
    class Less(CoreTransport):
        def call(self, function, frame):
            super().call(function, frame)
            if function is abi.VERSION:
                frame.features = abi.FEATURE_GPU

    bench.handles.append(Less(bench))
    driver = NativeDriver(bench.handles[-1])
    for ask in (driver.pool, driver.scheduler, driver.best_path, lambda: driver.hint(1)):
        with pytest.raises(DriverMismatch, match="this driver has no"):
            ask()


def test_what_the_wait_for_a_turn_says_is_typed(bench):
    with bench.open().turn(), pytest.raises(DriverTimeout, match="SLOT_WAIT"):
        bench.open().wait_turn(1.0)


def test_a_machine_without_the_driver_says_so_and_what_to_do(tmp_path):
    nowhere = str(tmp_path / "none")
    with pytest.raises(DriverAbsent, match="load the module"):
        open_transport(nowhere)
    probe = NativeBackend(lambda: NativeDriver.open(nowhere)).probe()
    assert probe.state == "missing"
    assert "load the module" in probe.reason


@pytest.mark.skipif(sys.platform != "linux", reason="files of devices are Linux's")
def test_a_closed_handle_asks_no_file_that_has_its_number_since(monkeypatch):
    import fcntl

    asked, real = [], fcntl.ioctl

    def ioctl(fd, function, frame):
        if fd < 0:
            real(fd, function, frame)
        asked.append(fd)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    transport = open_transport("/dev/null")
    call, number = transport.call, transport.fileno()
    transport.close()
    with open("/dev/null") as stranger:  # noqa: PTH123 - for its number
        assert stranger.fileno() == number
        with pytest.raises(DriverError, match="closed"):
            call(abi.POOL_FREE, abi.PoolFree())
        with pytest.raises(DriverError, match="closed"):
            transport.map(abi.PoolMap(bytes=4096))

    assert not asked


def test_a_file_that_is_no_driver_is_a_mismatch(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DriverMismatch, match="no such function"):
        NativeDriver.open(str(file))


def measured(**readings):
    """A card that a backend other than the driver measures."""
    values = {"memory_total_bytes": 24 * MIB, "memory_used_bytes": 6 * MIB, **readings}
    one = FakeDevice(id="GPU-1", name="A card", vendor="nvidia", readings=values, processes=[])
    return FakeBackend(FakeState(devices=[one])), one


def test_what_the_others_measure_is_what_the_driver_then_tells(bench):
    other, card = measured(busy_percent=40, temperature_c=61, power_w=99.5)
    devices = Devices([NativeBackend(bench.open), other])
    reader = bench.open()

    devices.sample()

    (sample,) = reader.gpus()
    assert (sample.id, sample.name, sample.vendor) == ("GPU-1", "A card", "nvidia")
    assert (sample.memory_total, sample.memory_used) == (24 * MIB, 6 * MIB)
    assert (sample.busy_percent, sample.temperature_c, sample.power_w) == (40, 61, 99.5)
    assert "cuda" in sample.paths
    card.readings["memory_used_bytes"] = 7 * MIB
    devices.sample()
    assert reader.gpus()[0].memory_used == 7 * MIB


def test_a_runtime_is_advised_from_what_the_others_measured_until_it_closes(bench):
    devices = Devices([NativeBackend(bench.open), measured()[0]])
    registered = devices.register_runtime("runtime", frozenset({"cpu", "cuda"}))
    assert registered.advise().reason == "no device was submitted"

    devices.sample()

    advice = registered.advise(18 * MIB)
    assert (advice.path, advice.device, advice.free_bytes) == ("cuda", "GPU-1", 18 * MIB)
    assert registered.advise(18 * MIB + 1).path == "cpu"
    (listed,) = bench.open().processes()
    assert (listed.rules, listed.pid) == ({"runtime"}, registered.pid)
    registered.close()
    assert list(bench.open().processes()) == []
    with pytest.raises(DriverNotReady, match="was closed"):
        registered.advise()


def test_a_registration_that_is_refused_leaves_no_handle_open(bench):
    backend = NativeBackend(bench.open)
    for name, paths in (("runtime", {"odd"}), ("", {"cpu"}), ("runtime", set())):
        with pytest.raises(DriverError):
            backend.register_runtime(name, frozenset(paths))
    assert bench.open().pool().clients == 1


def test_on_windows_each_device_is_reached_through_directml_too():
    stats = Stats("GPU-1", {"busy_percent": Known(40, "fake", 0)})
    for vendor, ways in (("nvidia", {"cuda", "directml"}), ("qualcomm", {"directml"})):
        found = sampled(Device("GPU-1", "A card", vendor), stats, 0, platform="win32")
        assert found.paths == ways


def test_what_nobody_knows_is_unknown_to_the_driver_too(bench):
    other, card = measured(throttle="none")
    del card.readings["memory_used_bytes"]
    Devices([NativeBackend(bench.open), other]).sample()

    (sample,) = bench.open().gpus()

    assert (sample.memory_total, sample.memory_used, sample.busy_percent) == (24 * MIB, None, None)


def test_who_submits_is_told_nothing_of_it_again(bench):
    other, card = measured(busy_percent=40)
    devices = Devices([NativeBackend(bench.open), other])
    for busy in (40, 50, 60):
        card.readings["busy_percent"] = busy
        snapshot = devices.sample()
        reading = snapshot.stats["GPU-1"].get("busy_percent")
        assert (reading.value, reading.source) == (busy, "fake")
    assert [device.id for device in devices.present()] == ["GPU-1"]


def test_only_one_submits_and_the_others_hear_it_from_the_driver(bench):
    first_backend = NativeBackend(bench.open)
    other, _ = measured(busy_percent=40)
    first = Devices([first_backend, other])
    first.sample()
    second = Devices([NativeBackend(bench.open), measured(busy_percent=90)[0]])

    assert second.sample().stats["GPU-1"].get("busy_percent").source == "native"

    first_backend.close()
    taken_over = second.sample()
    assert taken_over.stats["GPU-1"].get("busy_percent").value == 90
    assert not taken_over.lost
    assert bench.open().gpus()[0].busy_percent == 90


def test_who_holds_memory_is_submitted_when_it_is_listed(bench):
    other, card = measured()
    card.processes = [FakeProcess(pid=7, used_bytes=5 * MIB, ours=True)]
    devices = Devices([NativeBackend(bench.open), other])
    bench.os.alive[7] = 1
    devices.sample()

    devices.processes("GPU-1")

    assert [(one.pid, one.gpu_bytes) for one in bench.open().processes()] == [(7, 5 * MIB)]


@pytest.mark.parametrize(
    "absurd",
    [
        {"memory_used_bytes": 25 * MIB},
        {"memory_used_bytes": -1},
        {"memory_total_bytes": 1 << 70, "memory_used_bytes": 1 << 69},
        {"temperature_c": 900},
    ],
)
def test_one_device_that_tells_nonsense_silences_no_other(bench, absurd):
    _, card = measured(**absurd)
    odd = card.model_copy(update={"id": "GPU-0"})
    sane = card.model_copy(update={"readings": {"busy_percent": 7}})
    other = FakeBackend(FakeState(devices=[odd, sane]))

    Devices([NativeBackend(bench.open), other]).sample()

    first, second = bench.open().gpus()
    assert (first.id, second.id, second.busy_percent) == ("GPU-0", "GPU-1", 7)
    assert first.memory_used in (None, 6 * MIB)
    assert first.temperature_c is None


def test_what_was_measured_long_ago_is_not_submitted():
    stats = Stats("GPU-1", {"busy_percent": Known(40, "fake", 0)})
    device = Device("GPU-1", "A card", "nvidia")

    assert sampled(device, stats, 10**9) is not None
    assert sampled(device, stats, 4000 * 10**9) is None


def test_a_device_without_a_name_that_fits_is_left_out(bench):
    long = FakeDevice(id="x" * 100, readings={"busy_percent": 1})
    Devices([NativeBackend(bench.open), FakeBackend(FakeState(devices=[long]))]).sample()

    with pytest.raises(DriverNotReady):
        bench.open().gpus()
