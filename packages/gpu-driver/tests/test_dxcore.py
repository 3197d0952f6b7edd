"""What DXCore tells of adapters, by a library that speaks as dxcore.dll does."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from sashizu_core.devices import DeviceError, Unknown
from sashizu_core.testing import DeviceContract
from sashizu_gpu_driver.windows import dxcore
from sashizu_gpu_driver.windows.backend import WindowsBackend
from sashizu_gpu_driver.windows.dxcore import Adapters

SOURCE = Path(__file__).resolve().parent / "fake_dxcore" / "dxcore.c"
GIB = 1 << 30
ID = "luid-00000001-0000d1a2"
SECOND_NS = 1_000_000_000


class Described(ctypes.Structure):
    """`struct described` of dxcore.c."""

    _fields_ = (
        *(("low", ctypes.c_uint32), ("high", ctypes.c_int32), ("hardware", ctypes.c_uint32 * 4)),
        *((name, ctypes.c_uint64) for name in ("memory", "used", "core_hz", "memory_hz")),
        *(("running", ctypes.c_uint64 * 4), ("engines", ctypes.c_uint32)),
        ("temperature", ctypes.c_float),
        *((n, ctypes.c_uint8) for n in ("npu", "integrated", "software", "gone", "silent")),
        ("name", ctypes.c_char * 64),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("there is no C compiler: install gcc")
    library = tmp_path_factory.mktemp("dxcore") / "dxcore.so"
    flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE)], check=True)
    return ctypes.CDLL(str(library))


class Windows:
    """The library, with one GPU as it is described; a clock, and counters that know nothing."""

    def __init__(self, library):
        self.library = library
        self.adapters = (Described * 4).in_dll(library, "fake_adapters")
        self.now = 0
        for name in ("count", "older", "broken", "stale", "references"):
            self.set(name, 0)
        for one in self.adapters:
            ctypes.memset(ctypes.addressof(one), 0, ctypes.sizeof(one))
        self.first = self.add(b"Radeon Imaginary", low=0xD1A2, high=1, memory=16 * GIB)
        self.first.hardware[0] = 0x1002
        self.first.used, self.first.temperature = 5 * GIB, 61.5
        self.first.core_hz, self.first.memory_hz = 2_400_000_000, 1_250_000_000
        self.first.engines = 2

    def add(self, name, **values):
        number = self.get("count")
        self.set("count", number + 1)
        self.adapters[number].name = name
        for key, value in values.items():
            setattr(self.adapters[number], key, value)
        return self.adapters[number]

    def get(self, name):
        return ctypes.c_uint8.in_dll(self.library, f"fake_{name}").value

    def set(self, name, value):
        kind = ctypes.c_uint8 if name == "stale" else ctypes.c_uint32
        kind.in_dll(self.library, f"fake_{name}").value = value

    def no_counters(self):
        raise DeviceError("PdhAddEnglishCounterW: error 0xC0000BB9")

    def backend(self):
        return WindowsBackend(
            self.no_counters, adapters=lambda: Adapters(self.library), clock=lambda: self.now
        )


@pytest.fixture
def windows(built):
    return Windows(built)


class TestDxCore(DeviceContract):
    @pytest.fixture
    def backend(self, windows):
        return WindowsBackend(windows.no_counters, adapters=lambda: Adapters(windows.library))


def test_an_adapter_is_known_by_its_name_vendor_and_memory(windows):
    windows.add(b"AI Boost", low=2, npu=1, integrated=1)
    gpu, npu = windows.backend().devices()

    assert (gpu.id, gpu.name, gpu.vendor) == (ID, "Radeon Imaginary", "amd")
    assert (gpu.kind, gpu.memory) == ("gpu", "dedicated")
    assert (npu.kind, npu.memory, npu.vendor) == ("npu", "shared", "windows")


def test_what_it_tells_is_told_in_our_units_with_its_source(windows):
    stats = windows.backend().stats(ID)

    assert {
        name: stats.number(name)
        for name in stats.readings
        if not isinstance(stats.get(name), Unknown)
    } == {
        "memory_total_bytes": 16 * GIB,
        "memory_used_bytes": 5 * GIB,
        "memory_free_bytes": 11 * GIB,
        "temperature_c": 61.5,
        "clock_core_mhz": 2400,
        "clock_memory_mhz": 1250,
    }
    assert stats.get("memory_total_bytes").source == "dxcore"


def test_how_busy_it_was_is_that_of_the_busiest_engine_between_two_looks(windows):
    backend = windows.backend()
    windows.first.running[0], windows.first.running[1] = 1_000_000, 5_000_000
    assert isinstance(backend.stats(ID).get("busy_percent"), Unknown)

    windows.now += 2 * SECOND_NS
    windows.first.running[0] += 500_000
    windows.first.running[1] += 100_000
    assert backend.stats(ID).number("busy_percent") == 25

    windows.now += SECOND_NS
    windows.first.running[0] = 0  # a counter that went back is no idleness of others
    windows.first.running[1] += 400_000
    assert backend.stats(ID).number("busy_percent") == 40


@pytest.mark.parametrize("how", ["zeros", "silence"])
def test_what_a_driver_does_not_tell_is_unknown_and_not_nought(windows, how):
    if how == "silence":
        windows.first.silent = 1
    else:
        windows.first.used = windows.first.core_hz = windows.first.memory_hz = 0
        windows.first.temperature = 0
    stats = windows.backend().stats(ID)

    for name in ("memory_used_bytes", "memory_free_bytes", "temperature_c", "clock_core_mhz"):
        assert isinstance(stats.get(name), Unknown)
    assert stats.number("memory_total_bytes") == 16 * GIB


def test_what_is_no_hardware_is_left_out(windows):
    windows.add(b"Basic Render Driver", low=9, software=1)

    assert [one.id for one in windows.backend().devices()] == [ID]


def test_an_older_windows_tells_what_it_can(windows):
    windows.set("older", 1)
    backend = windows.backend()
    backend.stats(ID)
    windows.now += SECOND_NS
    stats = backend.stats(ID)

    assert stats.number("memory_used_bytes") == 5 * GIB
    assert isinstance(stats.get("busy_percent"), Unknown)


def test_adapters_that_come_and_go_are_seen(windows):
    backend = windows.backend()
    backend.devices()
    windows.add(b"Another", low=7, memory=GIB)
    windows.set("stale", 1)
    assert len(backend.devices()) == 2

    windows.set("count", 1)
    windows.adapters[1].gone = 1
    assert [one.id for one in backend.devices()] == [ID]


def test_every_object_is_given_back(windows):
    backend = windows.backend()
    for _ in range(3):
        windows.set("stale", 1)
        backend.devices()
    assert windows.get("references")

    backend.close()

    assert windows.get("references") == 0


def test_a_library_that_refuses_is_told_with_its_error(windows):
    windows.set("broken", 1)
    probe = windows.backend().probe()

    assert probe.state == "missing"
    assert "DXCoreCreateAdapterFactory: error 0x80004005" in probe.reason
    assert "0xC0000BB9" in probe.reason


def test_counters_that_are_missing_are_told_beside_what_is_there(windows):
    probe = windows.backend().probe()

    assert (probe.state, "0xC0000BB9" in probe.reason) == ("ok", True)


def test_a_python_of_32_bits_does_not_call_what_is_laid_out_for_64(monkeypatch):
    monkeypatch.setattr(dxcore, "_PLATFORM", "win32")
    monkeypatch.setattr(dxcore, "_WIDE", False)

    with pytest.raises(DeviceError, match="64 bits"):
        dxcore.load()
