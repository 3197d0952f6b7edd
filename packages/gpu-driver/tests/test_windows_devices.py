"""What Windows counts of GPUs, with a source that says what its counters would."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.devices import DeviceBackend, DeviceError, DeviceLost, Known, Unknown
from sashizu_core.testing import DeviceContract
from sashizu_gpu_driver.windows.backend import WindowsBackend
from sashizu_gpu_driver.windows.instances import Instance, busiest_engines, parse_instance

LUID = "luid_0x00000000_0x0000D1A2"
ID = "luid-00000000-0000d1a2"
OTHER = "luid_0x00000000_0x0000EEEE"
GIB = 1024**3


class Source:
    """Counters; the rates of engines come with the second collection, as on Windows."""

    def __init__(self) -> None:
        self.collections = 0
        self.closed = False

    def collect(self) -> dict[str, Sequence[tuple[str, float]]]:
        self.collections += 1
        engines = [
            (f"pid_10_{LUID}_phys_0_eng_0_engtype_3D", 30.0),
            (f"pid_11_{LUID}_phys_0_eng_0_engtype_3D", 25.0),
            (f"pid_11_{LUID}_phys_0_eng_3_engtype_Compute_0", 40.0),
            ("something else", 99.0),
        ]
        return {
            "engine": engines if self.collections > 1 else [],
            "adapter": [(f"{LUID}_phys_0", 2.0 * GIB), (f"{OTHER}_phys_0", 0.0)],
            "process": [(f"pid_11_{LUID}_phys_0", 1.0 * GIB)],
        }

    def close(self) -> None:
        self.closed = True


class Clock:
    now = 0

    def __call__(self) -> int:
        self.now += 1_000_000_000
        return self.now


def backend() -> WindowsBackend:
    return WindowsBackend(Source, clock=Clock())


class TestWindows(DeviceContract):
    @pytest.fixture
    def backend(self) -> DeviceBackend:
        return WindowsBackend(Source)


def test_the_busiest_engine_is_how_busy_an_adapter_is() -> None:
    windows = backend()
    windows.devices()
    stats = windows.stats(ID)
    assert stats.number("busy_percent") == 55
    assert stats.number("memory_used_bytes") == 2 * GIB


def test_one_look_at_a_rate_is_no_idleness() -> None:
    source = Source()
    windows = WindowsBackend(lambda: source)
    assert isinstance(windows.stats(ID).get("busy_percent"), Unknown)
    assert source.collections == 1


def test_what_windows_does_not_count_is_unknown() -> None:
    stats = backend().stats(ID)
    for name in ("memory_total_bytes", "memory_free_bytes", "temperature_c", "power_w"):
        assert isinstance(stats.get(name), Unknown)


def test_processes_are_told_with_what_is_counted_of_them() -> None:
    windows = backend()
    windows.devices()
    first, second = windows.processes(ID)  # type: ignore[misc]
    assert (first.pid, second.pid) == (10, 11)
    assert isinstance(first.used_bytes, Unknown)
    assert isinstance(second.used_bytes, Known)
    assert second.used_bytes.value == GIB
    assert isinstance(second.busy_percent, Known)
    assert second.busy_percent.value == 40


def test_an_adapter_that_is_gone_is_lost() -> None:
    with pytest.raises(DeviceLost):
        backend().stats("luid-00000000-00000001")


def test_counters_are_let_go() -> None:
    source = Source()
    windows = WindowsBackend(lambda: source)
    assert windows.probe().state == "ok"
    windows.close()
    assert source.closed


def test_a_windows_that_counts_nothing_is_told_with_its_error() -> None:
    def refused() -> Source:
        raise DeviceError("PdhAddEnglishCounterW: error 0xC0000BB9")

    probe = WindowsBackend(refused).probe()
    assert (probe.state, "0xC0000BB9" in probe.reason) == ("missing", True)


@pytest.mark.skipif(sys.platform == "win32", reason="this is Windows")
def test_elsewhere_it_is_refused_with_the_reason() -> None:
    windows = WindowsBackend()
    probe = windows.probe()
    assert probe.state == "missing"
    assert f"this is {sys.platform}" in probe.reason
    with pytest.raises(DeviceError, match="this is"):
        windows.devices()


def test_names_are_taken_apart() -> None:
    assert parse_instance(f"pid_10_{LUID}_phys_0_eng_12_engtype_3D") == Instance(ID, 10, 12, "3D")
    assert parse_instance(f"{LUID}_phys_0") == Instance(ID, None, None, "")
    assert parse_instance("_Total") is None


@given(st.text(max_size=80))
def test_no_name_makes_it_fail(name: str) -> None:
    parse_instance(name)
    parse_instance(f"pid_1_{LUID}{name}")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.floats(-10, 500))))
def test_nothing_is_busier_than_wholly(counted: list[tuple[str, int, float]]) -> None:
    found = busiest_engines((Instance(luid, 1, engine, ""), x) for luid, engine, x in counted)
    assert all(0 <= percent <= 100 for percent in found.values())
