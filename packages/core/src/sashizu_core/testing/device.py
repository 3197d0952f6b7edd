"""What every backend of devices has to do, as tests to inherit.

```python
class TestBackend(DeviceContract):
    @pytest.fixture
    def backend(self) -> Iterator[DeviceBackend]:
        with my_device().open() as backend:
            yield backend
```
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator

import pytest

from sashizu_core.devices import (
    FIELDS,
    Device,
    DeviceBackend,
    DeviceError,
    DeviceLost,
    DeviceProcess,
    Hint,
    HintResult,
    Known,
    Reading,
    Unknown,
)
from sashizu_core.testing.contract import Contract

__all__ = ["DeviceContract"]

_NOBODY = "no-such-device"
_LONGEST_PROBE_S = 5.0  # a tenth of a second is asked for; machines that test are slow
_TEXTS = frozenset({"throttle"})


class DeviceContract(Contract):
    """Inherit it, and override `backend`: one that is usable and has at least one device."""

    @pytest.fixture
    def backend(self) -> Iterator[DeviceBackend]:
        """The backend under test."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def devices(self, backend: DeviceBackend) -> list[Device]:
        found = list(backend.devices())
        assert found, "give the contract a backend with a device"
        return found

    # --- what is there ----------------------------------------------------------------------------

    def test_it_can_be_used_and_says_so_quickly(self, backend: DeviceBackend) -> None:
        began = time.monotonic()
        assert backend.probe().state == "ok"
        assert time.monotonic() - began < _LONGEST_PROBE_S

    def test_its_name_is_one_word(self, backend: DeviceBackend) -> None:
        assert backend.name.split() == [backend.name]

    def test_devices_have_ids_of_their_own_that_stay(
        self, backend: DeviceBackend, devices: list[Device]
    ) -> None:
        ids = [name for device in devices for name in (device.id, *device.also)]
        assert len(set(ids)) == len(ids), f"two devices share an id: {sorted(ids)}"
        assert all(name and name.split() == [name] for name in ids)
        assert [device.id for device in backend.devices()] == [device.id for device in devices]

    def test_a_part_names_a_device_that_is_there(self, devices: list[Device]) -> None:
        ids = {device.id for device in devices}
        assert all(device.parent in ids for device in devices if device.parent)

    def test_names_are_one_line(self, devices: list[Device]) -> None:
        for device in devices:
            assert device.name
            assert device.name.isprintable()
            assert device.vendor.isprintable()

    # --- what is measured -------------------------------------------------------------------------

    def test_what_is_measured_has_source_age_and_a_possible_value(
        self, backend: DeviceBackend, devices: list[Device]
    ) -> None:
        for device in devices:
            before = time.monotonic_ns()
            stats = backend.stats(device.id)
            assert stats.device == device.id
            for name, reading in stats.readings.items():
                _check(name, reading, before)

    def test_what_is_not_known_has_a_reason(
        self, backend: DeviceBackend, devices: list[Device]
    ) -> None:
        for device in devices:
            readings = (backend.stats(device.id).get(name) for name in FIELDS)
            assert all(one.reason.strip() for one in readings if isinstance(one, Unknown))

    def test_parts_of_the_memory_are_no_more_than_all_of_it(
        self, backend: DeviceBackend, devices: list[Device]
    ) -> None:
        for device in devices:
            stats = backend.stats(device.id)
            total = stats.number("memory_total_bytes")
            for part in ("used", "free", "reserved"):
                found = stats.number(f"memory_{part}_bytes")
                assert total is None or found is None or found <= total

    def test_processes_are_a_list_or_unknown_with_a_reason(
        self, backend: DeviceBackend, devices: list[Device]
    ) -> None:
        for device in devices:
            found = backend.processes(device.id)
            if isinstance(found, Unknown):
                assert found.reason
                continue
            for process in found:
                assert isinstance(process, DeviceProcess)
                assert process.pid > 0
                _check("memory_used_bytes", process.used_bytes, 0)
                _check("busy_percent", process.busy_percent, 0)

    # --- what goes wrong --------------------------------------------------------------------------

    def test_a_device_that_is_not_there_is_lost(self, backend: DeviceBackend) -> None:
        with pytest.raises(DeviceLost):
            backend.stats(_NOBODY)

    def test_one_lost_device_does_not_take_the_others_along(
        self, backend: DeviceBackend, devices: list[Device]
    ) -> None:
        with pytest.raises(DeviceLost):
            backend.stats(_NOBODY)
        for device in devices:
            assert backend.stats(device.id).device == device.id

    # --- what may be missing ----------------------------------------------------------------------

    def test_events_are_told_once_and_asking_does_not_wait(self, backend: DeviceBackend) -> None:
        began = time.monotonic()
        first, second = list(backend.events()), list(backend.events())
        assert time.monotonic() - began < _LONGEST_PROBE_S
        assert not [event for event in second if event in first]

    def test_a_hint_is_answered_and_never_raises(self, backend: DeviceBackend) -> None:
        now = 0 if sys.platform == "win32" else os.nice(0)
        result = backend.hint(os.getpid(), Hint(nice=now))
        assert isinstance(result, HintResult)
        assert result.how if result.state == "applied" else result.reason
        result.undo()

    def test_a_runtime_is_registered_until_it_is_closed_or_refused(
        self, backend: DeviceBackend
    ) -> None:
        try:
            registered = backend.register_runtime("contract", frozenset({"cpu"}))
        except DeviceError as error:
            assert str(error)  # noqa: PT017 - a backend without a driver says so
            return
        try:
            assert registered.pid > 0
            advice = registered.advise()
            assert (advice.path, advice.device) == ("cpu", "")
            assert advice.reason
        finally:
            registered.close()
        registered.close()
        with pytest.raises(DeviceError):
            registered.advise()
        with pytest.raises(DeviceError):
            backend.register_runtime("contract", frozenset({"no-such-way"}))
        again = backend.register_runtime("contract", frozenset({"cpu"}))
        assert again.advise().path == "cpu"
        again.close()

    def test_memory_is_given_zeroed_within_the_size_and_taken_back(
        self, backend: DeviceBackend
    ) -> None:
        try:
            pool = backend.pinned_pool(1 << 20)
        except DeviceError as error:
            assert str(error)  # noqa: PT017 - a backend without memory says so
            return
        try:
            buffer = pool.allocate(4096, client="contract")
            assert buffer.size >= 4096
            assert not any(buffer.view[:4096])
            assert buffer.pinned or buffer.reason
            assert 0 < pool.used <= pool.size
            with pytest.raises(DeviceError):
                pool.allocate(pool.size + 1, client="contract")
            assert pool.release("contract") >= 4096
            assert pool.used == 0
        finally:
            pool.close()


def _check(name: str, reading: Reading, not_before_ns: int) -> None:
    """Whether a reading is one that can be."""
    if isinstance(reading, Unknown):
        assert reading.reason
        return
    assert isinstance(reading, Known)
    assert reading.source
    assert reading.at_ns <= time.monotonic_ns(), f"{name} was measured in the future"
    assert reading.age_s(not_before_ns) < 3600, f"{name} is older than an hour"
    if name in _TEXTS:
        assert isinstance(reading.value, str)
        return
    assert not isinstance(reading.value, str), f"{name} is no text"
    assert math.isfinite(reading.value)
    assert reading.value >= 0 or name == "temperature_c"
    assert not name.endswith("_percent") or reading.value <= 100, f"{name} is above 100"
