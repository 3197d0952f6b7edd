"""The Python client on the loaded Windows driver."""

import ctypes
import mmap
import random
import subprocess
import sys
import threading

import pytest
from driver_checks import DriverChecks
from sashizu_core.testing.device import DeviceContract
from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.backend import NativeBackend
from sashizu_gpu_driver.native.driver import NativeDriver, filled
from sashizu_gpu_driver.native.errors import (
    DriverBusy,
    DriverCancelled,
    DriverError,
    DriverTimeout,
)
from sashizu_gpu_driver.native.values import GpuSample, TurnUse
from sashizu_gpu_driver.native.windows import WindowsTransport

MIB = 1 << 20
LONGEST_S = 60.0
ROUNDS = 15
CHILD = """
from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.values import GpuSample
mine = NativeDriver.open()
mine.allocate(1 << 20)
mine.wait_turn()
mine.submit([GpuSample("gpu", "One")])
mine.register_runtime("child", frozenset({"cuda"}))
print("ready", flush=True)
input()
"""
WAITING = """
from sashizu_gpu_driver.native.driver import NativeDriver
NativeDriver.open().wait_turn(timeout_s=60)
"""


@pytest.fixture
def open_driver():
    opened = []

    def open_one():
        opened.append(NativeDriver.open())
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


class TestWindows(DriverChecks):
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


def test_a_buffer_is_seen_by_whoever_knows_its_name(open_driver):
    driver = open_driver()
    buffer = driver.allocate(MIB)
    place = filled(abi.PoolMap, handle=buffer.handle)
    driver.call(abi.POOL_MAP, place)
    name = bytes(place.name).rstrip(b"\0").decode()
    assert name.startswith("Global\\SashizuPool-")
    with mmap.mmap(-1, MIB, tagname=name) as other:
        buffer.view[:5] = b"hello"
        assert other[:5] == b"hello"
    buffer.close()


def test_two_buffers_have_two_names(open_driver):
    driver = open_driver()
    first, second = driver.allocate(MIB), driver.allocate(MIB)
    first.view[0] = 1
    assert second.view[0] == 0


def test_a_process_that_ends_leaves_nothing(open_driver):
    driver = open_driver()
    words = [sys.executable, "-c", CHILD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().strip() == b"ready"
        assert driver.pool().used == MIB
        with pytest.raises(DriverBusy):
            driver.wait_turn()
        child.kill()
    with driver.turn(timeout_s=LONGEST_S):  # it comes once the child's handle is gone
        assert driver.pool().used == 0
        assert list(driver.processes()) == []


def test_a_process_that_is_killed_while_it_waits_waits_no_more(open_driver):
    driver = open_driver()
    with driver.turn():
        with subprocess.Popen([sys.executable, "-c", WAITING]) as child:
            while not driver.scheduler().waiting:
                assert child.poll() is None
            child.kill()
        while driver.scheduler().waiting:
            pass
        assert driver.pool().clients == 1
    with driver.turn():
        assert driver.scheduler().running == 1


def test_a_wait_goes_on_when_the_turn_is_given_back(open_driver):
    holder, waiter = open_driver(), open_driver()
    turn, got = holder.wait_turn(), []
    thread = threading.Thread(target=lambda: got.append(waiter.wait_turn(timeout_s=LONGEST_S)))
    thread.start()
    while not holder.scheduler().waiting:
        assert thread.is_alive()
    holder.end_turn(turn)
    thread.join(LONGEST_S)
    assert got
    waiter.end_turn(got[0])


def test_a_wait_can_be_cancelled_from_another_thread(open_driver):
    holder = open_driver()
    transport = WindowsTransport()
    waiter, said = NativeDriver(transport), []

    def wait():
        try:
            waiter.wait_turn(timeout_s=LONGEST_S)
        except DriverError as error:
            said.append(error)

    with holder.turn():
        before = holder.scheduler().cancelled
        thread = threading.Thread(target=wait)
        thread.start()
        while not holder.scheduler().waiting:
            assert thread.is_alive()
        transport.cancel()
        thread.join(LONGEST_S)
        assert isinstance(said[0], DriverCancelled)
        while holder.scheduler().waiting:
            pass
        assert holder.scheduler().cancelled == before + 1
    with holder.turn():
        pass
    waiter.close()


def _wait_again_and_again(chance, said):
    """One handle after the other, which waits some times, and tells how each wait ended."""
    for _ in range(ROUNDS):
        with NativeDriver.open() as driver:
            for _ in range(chance.randrange(1, 6)):
                try:
                    turn = driver.wait_turn(timeout_s=chance.choice([0.0, 0.02, LONGEST_S]))
                except DriverError as error:
                    said.append(type(error))
                    continue
                said.append(TurnUse)
                if chance.random() < 0.3:
                    break  # its turn is given back when it closes
                driver.end_turn(turn)


def test_many_that_wait_at_once_are_served_and_leave_nothing(open_driver):
    """None of them is cancelled: Wine may then cancel a request that is answered already."""
    watcher, said = open_driver(), []
    before = watcher.scheduler()
    threads = [
        threading.Thread(target=_wait_again_and_again, args=(random.Random(seed), said))
        for seed in range(4)
    ]
    turn = watcher.wait_turn()
    for thread in threads:
        thread.start()
    while not {DriverBusy, DriverTimeout} <= set(said):
        assert any(thread.is_alive() for thread in threads)
    watcher.end_turn(turn)
    for thread in threads:
        thread.join(LONGEST_S)
    assert set(said) == {TurnUse, DriverBusy, DriverTimeout}
    after = watcher.scheduler()
    assert after.granted - before.granted == said.count(TurnUse) + 1
    assert after.cancelled - before.cancelled == said.count(DriverTimeout)
    assert (after.running, after.waiting, watcher.pool().clients) == (0, 0, 1)


def _hostile(chance, functions, frame):
    """One call with anything in it: code and size; the frame is filled."""
    function = chance.choice(functions)
    size, code = int(function) >> 16 & 0x3FFF, function.windows
    ctypes.memset(frame, 0, 2048)
    ctypes.memmove(frame, chance.randbytes(64), 64)
    if chance.random() < 0.9:
        head = size.to_bytes(4, "little") + abi.ABI.to_bytes(4, "little")
        ctypes.memmove(frame, head, 8 if chance.random() < 0.9 else 4)
    if chance.random() < 0.5:
        ctypes.memset(ctypes.addressof(frame) + 8, 0, 24)
    if chance.random() < 0.1:
        code ^= 1 << chance.randrange(32)
    if chance.random() < 0.1:
        size = chance.choice([0, 1, 7, size - 1, size + 1, 4096, 65536])
    return code, size


def test_the_driver_survives_twenty_thousand_calls_with_anything_in_them(open_driver):
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.DeviceIoControl.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32),
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p),
    ]
    kernel.CreateFileW.restype = ctypes.c_void_p
    handle = kernel.CreateFileW(abi.WINDOWS_DEVICE, 0xC0000000, 0, None, 3, 0, None)
    functions = [one for one in vars(abi).values() if isinstance(one, abi.Function)]
    functions.remove(abi.SLOT_WAIT)  # a wait would hold up this thread
    frame, given = ctypes.create_string_buffer(65536), ctypes.c_uint32()
    chance, codes = random.Random(7), set()
    for _ in range(20_000):
        code, size = _hostile(chance, functions, frame)
        if code == abi.SLOT_WAIT.windows:
            continue
        answer = (frame, size, ctypes.byref(given), None)
        good = kernel.DeviceIoControl(handle, code, frame, size, *answer)
        codes.add(0 if good else ctypes.get_last_error())
    kernel.CloseHandle(ctypes.c_void_p(handle))
    assert {0, 1, 87, 122, 1306} <= codes
    driver = open_driver()
    assert (driver.pool().used, driver.pool().clients) == (0, 1)
    driver.submit([GpuSample("gpu", "One")])
    assert len(driver.gpus()) == 1
