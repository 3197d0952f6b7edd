"""What every driver must do, seen through the Python client.

The same tests run on the core alone, on the Linux module and on the Windows driver: inherit
`DriverChecks` and override the fixture `open_driver`.
"""

import ctypes
import os

import pytest
from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.backend import NativeBackend
from sashizu_gpu_driver.native.driver import filled
from sashizu_gpu_driver.native.errors import (
    DriverBusy,
    DriverError,
    DriverFull,
    DriverMismatch,
    DriverNotReady,
    DriverTimeout,
    DriverUnknown,
)
from sashizu_gpu_driver.native.values import GpuSample

MIB = 1 << 20


def sample(number=0, **more):
    values = {"memory_total": 8 * MIB, "memory_used": 2 * MIB, "paths": frozenset({"cuda"})}
    return GpuSample(f"GPU-{number}", f"Accelerator {number}", "acme", **{**values, **more})


class DriverChecks:
    @pytest.fixture
    def open_driver(self):
        """Opens one more handle, as often as it is called; closes them all at the end."""
        raise NotImplementedError("override the fixture `open_driver`")

    @pytest.fixture
    def driver(self, open_driver):
        return open_driver()

    # --- the handshake ----------------------------------------------------------------------------

    def test_the_version_is_known_before_anything_else_is_asked(self, driver):
        assert driver.version.interface == "1.0"
        assert driver.version.system in {"linux", "windows", "test"}
        assert {"gpu", "processes", "pool", "slots", "hints"} <= driver.version.features
        assert driver.version.granule == 65536
        assert driver.version.client_bytes <= driver.version.pool_bytes

    def test_a_frame_of_another_major_version_is_refused(self, driver):
        frame = filled(abi.PoolStatus)
        frame.abi = 2 << 16
        with pytest.raises(DriverMismatch) as refused:
            driver.call(abi.POOL_STATUS, frame)
        assert refused.value.status is abi.Status.ABI

    def test_a_frame_that_lies_about_its_size_is_refused(self, driver):
        frame = filled(abi.PoolStatus)
        frame.size += 8
        with pytest.raises(DriverMismatch) as refused:
            driver.call(abi.POOL_STATUS, frame)
        assert refused.value.status is abi.Status.SIZE

    @pytest.mark.parametrize("code", [0, 0x7F, 0xFFF])
    def test_a_function_that_is_not_there_is_refused(self, driver, code):
        function = abi.Function(
            0xC0000000 | ctypes.sizeof(abi.PoolStatus) << 16 | 0xBB00 | (code & 0xFF) | 0x40,
            0x8337E000 | (0x40 | code & 0x3FF) << 2,
            "NOTHING",
        )
        with pytest.raises(DriverMismatch):
            driver.call(function, filled(abi.PoolStatus))

    # --- devices ----------------------------------------------------------------------------------

    def test_without_a_collector_nothing_is_known(self, driver):
        with pytest.raises(DriverNotReady):
            driver.gpus()

    def test_what_a_collector_submits_others_read_with_its_age(self, driver, open_driver):
        driver.submit([sample(0, busy_percent=12.5, age_s=0.5), sample(1, temperature_c=-3.5)])
        first, second = open_driver().gpus()
        assert (first.id, first.name, first.vendor) == ("GPU-0", "Accelerator 0", "acme")
        assert (first.busy_percent, first.memory_used) == (12.5, 2 * MIB)
        assert first.age_s >= 0.5
        assert second.temperature_c == -3.5
        assert first.temperature_c is second.power_w is None
        assert first.collector

    def test_there_is_one_collector_until_it_closes(self, driver, open_driver):
        driver.submit([sample()])
        other = open_driver()
        with pytest.raises(DriverBusy):
            other.submit([sample()])
        driver.close()
        with pytest.raises(DriverNotReady):
            other.gpus()
        other.submit([sample(5)])
        assert [one.id for one in other.gpus()] == ["GPU-5"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"index": 1},
            {"index": 16},
            {"known": 0x20},
            {"paths": 0x40},
            {"utilization": 1001},
            {"memory_used": 9 * MIB},
            {"power": 5},
            {"temperature": 1},
            {"age_ns": 1 << 63},
            {"kind": 0},
            {"memory": 4},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_a_sample_that_cannot_be_is_refused(self, driver, wrong):
        frame = sample(busy_percent=1).frame(0)
        for name, value in wrong.items():
            setattr(frame, name, value)
        with pytest.raises(DriverError) as refused:
            driver.call(abi.GPU_SUBMIT, frame)
        assert refused.value.status is abi.Status.INVALID
        with pytest.raises(DriverNotReady):
            driver.gpus()

    @pytest.mark.parametrize("raw", [b"", b"a" * 64, b"a\0b", b"a\nb"])
    def test_a_name_that_is_not_clean_text_is_refused(self, driver, raw):
        frame = sample().frame(0)
        ctypes.memset(ctypes.addressof(frame) + abi.Gpu.id.offset, 0, 64)
        ctypes.memmove(ctypes.addressof(frame) + abi.Gpu.id.offset, raw, len(raw))
        with pytest.raises(DriverError) as refused:
            driver.call(abi.GPU_SUBMIT, frame)
        assert refused.value.status is abi.Status.INVALID

    # --- processes --------------------------------------------------------------------------------

    def test_nobody_is_listed_for_being_there_or_for_a_name(self, driver):
        assert list(driver.processes()) == []

    def test_a_process_is_listed_by_what_it_holds(self, driver, open_driver):
        driver.submit([sample(0), sample(1)])
        mine = driver.register_runtime("checks", frozenset({"cuda"}))
        assert driver.submit_processes(1, [(mine, 3 * MIB)]) == 1
        buffer = driver.allocate(MIB)
        (found,) = open_driver().processes()
        assert (found.pid, found.gpus) == (mine, (1,))
        assert (found.gpu_bytes, found.pool_bytes) == (3 * MIB, MIB)
        assert found.rules == {"runtime", "gpu", "pool"}
        assert found.name
        buffer.close()
        assert driver.submit_processes(1, []) == 0
        (found,) = open_driver().processes()
        assert found.rules == {"runtime"}
        driver.close()
        assert list(open_driver().processes()) == []

    def test_only_the_collector_tells_who_uses_a_device(self, driver, open_driver):
        with pytest.raises(DriverNotReady):
            driver.submit_processes(0, [])
        driver.submit([sample()])
        with pytest.raises(DriverBusy):
            open_driver().submit_processes(0, [])
        with pytest.raises(DriverUnknown):
            driver.submit_processes(1, [])

    def test_a_process_that_is_not_there_is_not_listed(self, driver):
        driver.submit([sample()])
        assert driver.submit_processes(0, [(0x7FFFFFFE, MIB)]) == 0
        assert list(driver.processes()) == []

    # --- memory -----------------------------------------------------------------------------------

    def test_memory_is_zeroed_writable_and_counted(self, driver):
        buffer = driver.allocate(100_000)
        assert buffer.size == 131072
        assert not any(buffer.view)
        buffer.view[:4] = b"\xa5" * 4
        assert bytes(buffer.view[:5]) == b"\xa5\xa5\xa5\xa5\0"
        assert (driver.pool().mine, driver.pool().buffers) == (131072, 1)
        buffer.close()
        buffer.close()
        assert (driver.pool().mine, driver.pool().used) == (0, 0)

    def test_a_client_gets_no_more_than_its_share_and_the_pool_no_more_than_its_size(
        self, driver, open_driver
    ):
        share = driver.version.client_bytes
        with pytest.raises(DriverFull) as refused:
            driver.call(abi.POOL_ALLOC, filled(abi.PoolAlloc, bytes=share + 65536))
        assert refused.value.status is abi.Status.QUOTA
        clients = [open_driver() for _ in range(driver.version.pool_bytes // share)]
        for client in clients:
            client.call(abi.POOL_ALLOC, filled(abi.PoolAlloc, bytes=share))
        with pytest.raises(DriverFull) as refused:
            driver.call(abi.POOL_ALLOC, filled(abi.PoolAlloc, bytes=65536))
        assert refused.value.status is abi.Status.FULL
        for client in clients:
            client.close()
        assert driver.pool().used == 0

    @pytest.mark.parametrize("size", [0, 1, 65535, (1 << 64) - 1])
    def test_a_size_that_is_no_multiple_of_the_granule_is_refused(self, driver, size):
        with pytest.raises(DriverError) as refused:
            driver.call(abi.POOL_ALLOC, filled(abi.PoolAlloc, bytes=size))
        assert refused.value.status is abi.Status.INVALID

    def test_a_buffer_is_its_owners_alone(self, driver, open_driver):
        buffer, other = driver.allocate(MIB), open_driver()
        for function, frame in (
            (abi.POOL_FREE, filled(abi.PoolFree, handle=buffer.handle)),
            (abi.POOL_MAP, filled(abi.PoolMap, handle=buffer.handle)),
        ):
            with pytest.raises(DriverUnknown):
                other.call(function, frame)
        assert driver.pool().mine == MIB
        buffer.close()

    # --- turns ------------------------------------------------------------------------------------

    def test_a_turn_is_one_after_the_other(self, driver, open_driver):
        other = open_driver()
        with driver.turn() as turn:
            assert turn.ticket
            with pytest.raises(DriverBusy):
                other.wait_turn()
            with pytest.raises(DriverUnknown):
                other.end_turn(turn)
            assert driver.scheduler().running == 1
        with other.turn():
            assert other.scheduler().granted >= 2

    def test_a_handle_that_closes_gives_its_turn_back(self, driver, open_driver):
        driver.wait_turn()
        other = open_driver()
        driver.close()
        with other.turn():
            assert other.scheduler().running == 1

    def test_a_wait_ends_in_time(self, driver, open_driver):
        before = driver.scheduler().cancelled
        with driver.turn():
            with pytest.raises(DriverTimeout):
                open_driver().wait_turn(timeout_s=0.05)
            after = driver.scheduler()
        assert (after.waiting, after.cancelled) == (0, before + 1)

    @pytest.mark.parametrize(("priority", "timeout"), [(10, 0.0), (0, 61.0)])
    def test_what_no_turn_can_have_is_refused(self, driver, priority, timeout):
        with pytest.raises(DriverError) as refused:
            driver.wait_turn(timeout, priority)
        assert refused.value.status is abi.Status.INVALID

    # --- hints ------------------------------------------------------------------------------------

    def test_a_hint_holds_until_it_is_undone_and_is_its_givers(self, driver, open_driver):
        before, after = driver.hint(5)
        assert before != after
        other = open_driver()
        with pytest.raises(DriverBusy):
            other.hint(6)
        with pytest.raises(DriverUnknown):
            other.unhint()
        assert driver.scheduler().hints == 1
        driver.unhint()
        assert driver.scheduler().hints == 0
        assert other.hint(5) == (before, after)
        other.close()
        assert open_driver().hint(5) == (before, after)

    @pytest.mark.parametrize("nice", [-6, 20, -(1 << 31)])
    def test_a_hint_has_limits(self, driver, nice):
        with pytest.raises(DriverError) as refused:
            driver.hint(nice)
        assert refused.value.status is abi.Status.INVALID

    # --- runtimes ---------------------------------------------------------------------------------

    def test_a_runtime_is_registered_with_the_process_that_asks(self, driver):
        assert driver.register_runtime("windows-ai", frozenset({"directml", "npu"})) > 0
        assert driver.register_runtime("again", frozenset({"cuda"})) > 0

    def test_the_best_path_is_derived_and_says_why(self, driver, open_driver):
        with pytest.raises(DriverNotReady):
            driver.best_path()
        driver.register_runtime("checks", frozenset({"cuda", "directml"}))
        assert (driver.best_path().path, driver.best_path().gpu) == ("cpu", None)
        collector = open_driver()
        collector.submit([sample(0), sample(1, memory_used=MIB), sample(2, paths=frozenset())])
        best = driver.best_path(MIB)
        assert (best.path, best.gpu, best.free_bytes) == ("cuda", 1, 7 * MIB)
        assert "most free memory" in best.reason
        assert "enough" in driver.best_path(8 * MIB).reason
        collector.submit([sample(number, age_s=60) for number in range(3)])
        assert driver.best_path(MIB).path == "cpu"
        assert "too old" in driver.best_path(MIB).reason
        collector.submit([sample(number, memory_used=None) for number in range(3)])
        assert "nobody knows" in driver.best_path(MIB).reason
        collector.submit([sample(number, paths=frozenset({"rocm"})) for number in range(3)])
        assert "no device offers" in driver.best_path(MIB).reason

    # --- the backend ------------------------------------------------------------------------------

    def test_the_backend_tells_what_was_submitted_and_what_is_unknown(self, driver, open_driver):
        driver.submit([sample(busy_percent=7.5, age_s=2.0)])
        backend = NativeBackend(open_driver)
        assert backend.probe().state == "ok"
        (device,) = backend.devices()
        stats = backend.stats(device.id)
        assert stats.number("busy_percent") == 7.5
        assert stats.number("memory_free_bytes") == 6 * MIB
        assert stats.number("power_w") is None
        driver.submit_processes(0, [(driver.register_runtime("x", frozenset({"cuda"})), MIB)])
        (process,) = backend.processes(device.id)
        assert process.used_bytes.value == MIB
        assert process.pid == os.getpid() or driver.version.system == "test"

    def test_the_backend_has_no_devices_when_nobody_collects(self, open_driver):
        backend = NativeBackend(open_driver)
        assert backend.probe().state == "ok"
        assert list(backend.devices()) == []
