"""The backend of tests is as true to the contract as any other."""

import json
from pathlib import Path

import pytest
from sashizu_core.devices import (
    DeviceBackend,
    DeviceError,
    DeviceLost,
    Devices,
    Hint,
    Known,
    Unknown,
)
from sashizu_core.settings import Settings
from sashizu_core.testing import DeviceContract, PluginContract
from sashizu_gpu_driver.fake import FakeBackend, FakeDevice, FakeProcess, FakeState, write_state
from sashizu_gpu_driver.plugin import register_devices

GIB = 1024**3


def one(**more: object) -> FakeState:
    readings = {"busy_percent": 40, "memory_total_bytes": 8 * GIB, "memory_used_bytes": 2 * GIB}
    processes = [FakeProcess(pid=42, used_bytes=GIB, name="llama-server")]
    return FakeState(
        devices=[FakeDevice(id="fake-0", readings=readings, processes=processes, **more)]
    )


class TestPlugin(PluginContract):
    module = "sashizu_gpu_driver.plugin"


class TestFake(DeviceContract):
    @pytest.fixture
    def backend(self) -> DeviceBackend:
        return FakeBackend(one())


def test_a_value_that_nobody_gave_is_unknown_and_not_zero() -> None:
    stats = FakeBackend(one()).stats("fake-0")
    assert isinstance(stats.get("power_w"), Unknown)
    assert stats.number("power_w") is None
    assert stats.number("busy_percent") == 40


def test_a_reason_stands_in_place_of_a_value() -> None:
    backend = FakeBackend(one(unknown={"busy_percent": "needs CAP_PERFMON"}))
    assert backend.stats("fake-0").get("busy_percent") == Unknown("needs CAP_PERFMON", "fake")


def test_a_lost_device_is_an_event_once_and_so_is_its_return() -> None:
    backend = FakeBackend(one())
    backend.device("fake-0").lost = True
    with pytest.raises(DeviceLost, match="fallen off"):
        backend.stats("fake-0")
    assert [event.kind for event in backend.events()] == ["lost"]
    assert list(backend.events()) == []
    backend.device("fake-0").lost = False
    assert [event.kind for event in backend.events()] == ["back"]


def test_another_process_plays_the_device_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "devices.json"
    write_state(file, one())
    (spec,) = [
        spec
        for spec in register_devices(Settings({"gpu": {"fake": str(file)}}))
        if spec.name == "fake"
    ]
    with spec.open() as backend:
        assert backend.stats("fake-0").number("busy_percent") == 40
        changed = json.loads(file.read_text())
        changed["devices"][0]["readings"]["busy_percent"] = 97
        write_state(file, changed)
        assert backend.stats("fake-0").number("busy_percent") == 97


def test_a_file_that_is_not_there_makes_the_backend_missing(tmp_path: Path) -> None:
    backend = FakeBackend(tmp_path / "none.json")
    probe = backend.probe()
    assert probe.state == "missing"
    assert "none.json" in probe.reason
    with pytest.raises(DeviceError):
        backend.devices()


def test_a_backend_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    file = tmp_path / "devices.json"
    write_state(file, one())
    sane = FakeState(devices=[FakeDevice(id="other-0", readings={"busy_percent": 1})])
    devices = Devices([FakeBackend(file), FakeBackend(sane)])
    devices.sample()
    file.write_text("{")

    snapshot = devices.sample()

    assert list(snapshot.stats) == ["other-0"]
    assert "devices.json" in snapshot.lost["fake-0"]


def test_without_a_file_there_is_no_fake() -> None:
    assert "fake" not in {spec.name for spec in register_devices(Settings())}


def test_a_hint_is_written_down_and_undone() -> None:
    backend = FakeBackend(one())
    result = backend.hint(7, Hint(nice=5))
    assert backend.hints == [(7, Hint(nice=5))]
    result.undo()
    assert backend.hints == []


def test_the_clock_of_the_backend_dates_what_it_tells() -> None:
    backend = FakeBackend(one(), clock=lambda: 5_000_000_000)
    reading = backend.stats("fake-0").get("busy_percent")
    assert isinstance(reading, Known)
    assert reading.age_s(7_500_000_000) == 2.5
