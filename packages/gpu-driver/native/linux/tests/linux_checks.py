"""The Python client on the loaded Linux module, inside the guest."""

import array
import mmap
import os
import resource
import socket
from pathlib import Path

import pytest
from driver_checks import DriverChecks
from sashizu_core.testing import DeviceContract
from sashizu_gpu_driver.native.backend import NativeBackend
from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.errors import DriverForbidden
from sashizu_gpu_driver.native.pool import map_passed
from sashizu_gpu_driver.native.values import GpuSample

MIB = 1 << 20


@pytest.fixture
def open_driver():
    opened = []

    def open_one():
        opened.append(NativeDriver.open())
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


class TestLinux(DriverChecks):
    @pytest.fixture
    def open_driver(self, open_driver):
        return open_driver


class TestBackend(DeviceContract):
    @pytest.fixture
    def backend(self, open_driver):
        open_driver().submit([GpuSample("gpu-0", "First"), GpuSample("gpu-1", "Two", power_w=3.5)])
        backend = NativeBackend()
        yield backend
        backend.close()


def test_the_process_that_registers_is_this_one(open_driver):
    driver = open_driver()
    assert driver.register_runtime("python", frozenset({"cuda"})) == os.getpid()
    (found,) = driver.processes()
    assert found.name == Path("/proc/self/comm").read_text().strip()


def test_a_hint_is_what_the_system_says_too(open_driver):
    driver = open_driver()
    assert driver.hint(7) == (0, 7)
    assert os.getpriority(os.PRIO_PROCESS, 0) == 7
    driver.close()
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0


def test_memory_is_pinned_and_does_not_count_as_locked_by_the_user(open_driver):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    buffer = open_driver().allocate(64 * MIB)
    assert buffer.pinned
    buffer.view[-1] = 1
    buffer.close()


def test_memory_of_the_pool_is_passed_to_another_process_by_its_descriptor():
    pool = NativeBackend().pinned_pool(4 * MIB)
    buffer = pool.allocate(MIB, client="me")
    buffer.view[:5] = b"hello"
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        try:
            _, fds, _, _ = socket.recv_fds(there, 1, 1)
            seen = map_passed(fds[0], buffer.size)
            good = seen[:5] == b"hello"
            seen[5:6] = b"!"
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    socket.send_fds(here, [b"x"], [buffer.fd])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bytes(buffer.view[:6]) == b"hello!"
    assert pool.release("me") == MIB
    pool.close()
    here.close()
    there.close()


def test_a_killed_process_leaves_nothing(open_driver):
    driver = open_driver()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        mine = NativeDriver.open()
        mine.allocate(MIB)
        mine.wait_turn()
        mine.submit([GpuSample("gpu", "One")])
        mine.register_runtime("child", frozenset({"cuda"}))
        os.write(write, b"x")
        os.read(read, 0)
        os.kill(os.getpid(), 9)
    assert os.read(read, 1) == b"x"
    os.waitpid(child, 0)
    assert driver.pool().used == 0
    assert driver.scheduler().running == 0
    assert list(driver.processes()) == []
    os.close(read)
    os.close(write)


def test_a_user_outside_the_group_may_not_open_it():
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            try:
                NativeDriver.open()
            except DriverForbidden:
                os._exit(0)
            os._exit(1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_buffer_can_be_filled_by_a_read_that_bypasses_this_process(open_driver, tmp_path):
    """`readinto` of a file, as loaders do it: the pages are ordinary memory for the kernel."""
    buffer = open_driver().allocate(MIB)
    file = tmp_path / "weights"
    file.write_bytes(array.array("Q", range(MIB // 8)).tobytes())
    with file.open("rb", buffering=0) as weights:
        assert weights.readinto(buffer.view) == MIB
    assert bytes(buffer.view) == file.read_bytes()
    buffer.close()


def test_offsets_that_nobody_was_given_cannot_be_mapped(open_driver):
    driver = open_driver()
    with pytest.raises(OSError, match=r"ENOENT|No such"):
        mmap.mmap(driver.fileno(), MIB)
    driver.allocate(MIB)
    with pytest.raises(OSError, match=r"EINVAL|Invalid"):
        mmap.mmap(driver.fileno(), MIB, offset=1 << 20)
