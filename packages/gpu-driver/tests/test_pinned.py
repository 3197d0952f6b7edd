"""Memory that processes share: whose it is, whether it is pinned, and when it comes back."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import UNIXSocketStream
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_core.devices import DeviceError
from sashizu_gpu_driver.pinned import MemoryPool, SharedMemory, adopt
from sashizu_gpu_driver.pinned.memory import PAGE, free_huge_pages, new_memory
from sashizu_gpu_driver.pinned.serving import (
    connect_pool,
    receive_memory,
    send_memory,
    serve_pool,
)

MIB = 1024 * 1024
ENOUGH_S = 60

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd is of Linux")


@pytest.fixture
def pool() -> Iterator[MemoryPool]:
    pool = MemoryPool(4 * MIB, quota=2 * MIB)
    yield pool
    pool.close()


def locked_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmLck")).split()[1])


# --- one process ----------------------------------------------------------------------------------


def test_pinned_is_what_the_kernel_says(pool: MemoryPool) -> None:
    before = locked_kib()
    memory = pool.allocate(MIB)
    after = locked_kib()
    assert memory.pinned is (after - before == 1024)
    assert memory.pinned is not bool(memory.reason)
    assert (pool.pinned, pool.reason) == (memory.pinned, memory.reason)
    memory.close()
    assert locked_kib() == before


def test_beyond_the_limit_of_locking_there_is_memory_that_says_it_is_not_pinned() -> None:
    code = (
        "import resource, os\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "from sashizu_gpu_driver.pinned import MemoryPool\n"
        "memory = MemoryPool().allocate(1 << 20)\n"
        "memory.view[0] = 7\n"
        "print(memory.pinned, memory.reason, sep='|')\n"
    )
    if os.geteuid() != 0:  # then the limit holds anyway
        code = code.replace("os.setgid(65534); os.setuid(65534)\n", "")
    else:  # nobody may not be let into the folders of root
        code = code.replace("os.setgid", "import fcntl, sashizu_gpu_driver.pinned\nos.setgid")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pinned, _, reason = ran.stdout.strip().partition("|")
    assert pinned == "False"
    assert "RLIMIT_MEMLOCK is 0 MiB" in reason


def test_sizes_are_whole_pages_and_zeroed(pool: MemoryPool) -> None:
    memory = pool.allocate(1)
    assert memory.size == PAGE
    assert not any(memory.view)


def test_what_one_client_wrote_no_other_reads(pool: MemoryPool) -> None:
    first = pool.allocate(MIB, client="one")
    first.view[:] = b"\xee" * MIB
    pool.release("one")
    assert not any(pool.allocate(MIB, client="two").view)


def test_a_client_has_its_quota_and_the_pool_its_size(pool: MemoryPool) -> None:
    pool.allocate(2 * MIB, client="one")
    with pytest.raises(DeviceError, match="'one' has"):
        pool.allocate(1, client="one")
    pool.allocate(2 * MIB, client="two")
    with pytest.raises(DeviceError, match="of the pool"):
        pool.allocate(1, client="three")
    assert pool.clients() == {"one": 2 * MIB, "two": 2 * MIB}


def test_releasing_a_client_leaves_the_others_theirs(pool: MemoryPool) -> None:
    pool.allocate(MIB, client="one")
    pool.allocate(MIB, client="one")
    kept = pool.allocate(MIB, client="two")
    assert pool.release("one") == 2 * MIB
    assert pool.release("one") == 0
    assert pool.used == MIB
    kept.view[0] = 1


@pytest.mark.parametrize("size", [0, -1])
def test_no_memory_is_no_request(pool: MemoryPool, size: int) -> None:
    with pytest.raises(DeviceError, match="at least"):
        pool.allocate(size)


def test_a_closed_pool_gives_nothing(pool: MemoryPool) -> None:
    memory = pool.allocate(1)
    pool.close()
    with pytest.raises(DeviceError, match="closed"):
        pool.allocate(1)
    with pytest.raises(DeviceError, match="given back"):
        _ = memory.view


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(-1, 6 * PAGE), st.booleans()), max_size=20
    )
)
def test_what_is_in_use_is_what_was_given_and_not_taken_back(
    steps: list[tuple[str, int, bool]],
) -> None:
    pool = MemoryPool(16 * PAGE, quota=8 * PAGE)
    held: list[tuple[str, SharedMemory]] = []
    try:
        for client, size, back in steps:
            if back and held:
                held.pop()[1].close()
            elif back:
                pool.release(client)
            else:
                try:
                    held.append((client, pool.allocate(size, client=client)))
                except DeviceError:
                    assert pool.used + max(size, 1) > 0
            assert pool.used == sum(memory.size for _, memory in held) <= pool.size
            assert all(size <= 8 * PAGE for size in pool.clients().values())
    finally:
        pool.close()


# --- handed over ----------------------------------------------------------------------------------


def test_what_is_written_here_is_read_there(pool: MemoryPool) -> None:
    memory = pool.allocate(PAGE)
    there = adopt(os.dup(memory.fd))
    memory.view[:5] = b"hello"
    assert bytes(there.view[:5]) == b"hello"
    with pytest.raises(TypeError):
        there.view[0] = 1
    there.close()


def test_memory_can_neither_shrink_nor_grow(pool: MemoryPool) -> None:
    memory = pool.allocate(PAGE)
    for size in (0, 2 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.fd, size)


def test_memory_that_its_sender_could_cut_is_refused() -> None:
    fd = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, PAGE)
    with pytest.raises(DeviceError, match="cut by its sender"):
        adopt(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_memory_that_its_sender_cuts_while_it_is_looked_at_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fcntl

    ours = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(ours, 2 * PAGE)
    look = os.fstat

    def cut_after(fd: int) -> os.stat_result:
        seen = look(fd)
        os.ftruncate(ours, PAGE)
        fcntl.fcntl(ours, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return seen

    theirs = os.dup(ours)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", cut_after)
        with pytest.raises(DeviceError, match="cut by its sender"):
            adopt(theirs)
    with pytest.raises(OSError, match="Bad file descriptor"):
        look(theirs)
    os.close(ours)


def test_what_is_no_memory_is_refused(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(DeviceError, match="no memory"):
        adopt(reader)


def test_frozen_memory_is_changed_by_nobody() -> None:
    memory = new_memory(PAGE)
    memory.view[:2] = b"ok"
    memory.freeze()
    there = adopt(os.dup(memory.fd))
    assert there.frozen
    assert bytes(there.view[:2]) == b"ok"
    with pytest.raises(DeviceError, match="cannot be mapped"):
        adopt(os.dup(memory.fd), writable=True)
    with pytest.raises(TypeError):
        memory.view[0] = 1
    there.close()
    memory.close()


def test_memory_that_somebody_may_write_cannot_be_frozen() -> None:
    memory = new_memory(PAGE)
    there = adopt(os.dup(memory.fd), writable=True)
    with pytest.raises(DeviceError, match="may still write"):
        memory.freeze()
    memory.view[0] = 9
    assert there.view[0] == 9
    there.close()
    memory.close()


def test_a_slice_in_use_keeps_its_bytes() -> None:
    memory = new_memory(PAGE)
    memory.view[0] = 5
    kept = memory.view[:1]
    memory.close()
    assert kept[0] == 5
    with pytest.raises(DeviceError, match="given back"):
        _ = memory.fd


# --- huge pages and CUDA --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "reserved", "found"), [("5", "2", 3), ("0", "0", 0), ("x", "0", 0)]
)
def test_huge_pages_are_counted_without_those_that_are_promised(
    tmp_path: Path, free: str, reserved: str, found: int
) -> None:
    folder = tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB"
    folder.mkdir(parents=True)
    (folder / "free_hugepages").write_text(f"{free}\n")
    (folder / "resv_hugepages").write_text(f"{reserved}\n")
    assert free_huge_pages(tmp_path) == found


def test_huge_pages_that_are_gone_meanwhile_are_done_without(tmp_path: Path) -> None:
    folder = tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB"
    folder.mkdir(parents=True)
    (folder / "free_hugepages").write_text("100000\n")
    (folder / "resv_hugepages").write_text("0\n")
    pool = MemoryPool(8 * MIB, root=tmp_path)
    memory = pool.allocate(3 * MIB)
    memory.view[-1] = 1
    assert memory.size == 4 * MIB
    pool.close()


FAKE_CUDA = """
#include <stdlib.h>
static int registered;
int cuInit(unsigned f) { (void)f; return getenv("FAKE_CUDA_FAIL") ? 100 : 0; }
int cuDeviceGet(int *d, int n) { (void)n; *d = 0; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { (void)d; *c = &registered; return 0; }
int cuCtxSetCurrent(void *c) { (void)c; return 0; }
int cuMemHostRegister_v2(void *p, unsigned long n, unsigned f) {
  (void)p; (void)n; if (f != 1) return 1; registered++; return 0; }
int cuMemHostUnregister(void *p) { (void)p; registered--; return 0; }
int fakeRegistered(void) { return registered; }
"""


@pytest.fixture(scope="session")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A libcuda that counts what is registered, found by its name."""
    place = tmp_path_factory.mktemp("cuda")
    (place / "cuda.c").write_text(FAKE_CUDA)
    library = place / "libcuda.so.1"
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-Wl,-soname,libcuda.so.1"),
            *("-o", str(library), str(place / "cuda.c")),
        ],
        check=True,
    )
    return ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def test_memory_is_registered_with_cuda_until_it_is_given_back(cuda: ctypes.CDLL) -> None:
    pool = MemoryPool(MIB, cuda=True)
    memory = pool.allocate(PAGE)
    assert (memory.registered, memory.pinned, memory.reason) == (True, True, "")
    assert cuda.fakeRegistered() == 1
    with pytest.raises(DeviceError, match="registered"):
        memory.freeze()
    pool.close()
    assert cuda.fakeRegistered() == 0


def test_without_cuda_the_kernel_pins_and_the_reason_names_cuda(
    cuda: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA_FAIL", "1")
    pool = MemoryPool(MIB, cuda=True)
    memory = pool.allocate(PAGE)
    assert not memory.registered
    assert "CUDA: cuInit: error 100" in memory.reason
    pool.close()


# --- several processes ----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_clients_get_memory_and_hand_it_to_each_other(tmp_path: Path) -> None:
    pool, place = MemoryPool(4 * MIB), tmp_path / "pool"
    async with anyio.create_task_group() as group:
        await group.start(serve_pool, pool, place)
        with anyio.fail_after(ENOUGH_S):
            async with connect_pool(place) as client:
                memory = await client.allocate(MIB)
                assert memory.pinned is not bool(memory.reason)
                memory.view[:3] = b"abc"
                assert await handed_over(tmp_path, memory) == b"abc"
                assert pool.used == MIB
                await client.free(memory)
                assert pool.used == 0
                with pytest.raises(DeviceError, match="given back already"):
                    await client.free(memory)
                with pytest.raises(DeviceError, match="of the pool"):
                    await client.allocate(5 * MIB)
        await anyio.wait_all_tasks_blocked()  # the pool has seen the connection end
        group.cancel_scope.cancel()
    assert not place.exists()
    pool.close()


async def handed_over(folder: Path, memory: SharedMemory) -> bytes:
    listener = await anyio.create_unix_listener(folder / "there")
    async with listener, anyio.create_task_group() as group:

        async def send() -> None:
            stream = await anyio.connect_unix(folder / "there")
            async with stream:
                await send_memory(stream, memory, 3)
                await stream.receive(1)

        group.start_soon(send)
        async with await listener.accept() as stream:
            received, size = await receive_memory(stream)
            found = bytes(received.view[:size])
            received.close()
            await stream.send(b"x")
    return found


@pytest.mark.anyio
async def test_memory_of_a_client_that_dies_comes_back(tmp_path: Path) -> None:
    pool, place = MemoryPool(4 * MIB), tmp_path / "pool"
    code = (
        "import anyio, sys\n"
        "from pathlib import Path\n"
        "from sashizu_gpu_driver.pinned.serving import connect_pool\n"
        "async def main():\n"
        "    async with connect_pool(Path(sys.argv[1])) as client:\n"
        "        memory = await client.allocate(1 << 20)\n"
        "        print('have', flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    async with anyio.create_task_group() as group:
        await group.start(serve_pool, pool, place)
        with anyio.fail_after(ENOUGH_S):
            async with await anyio.open_process([sys.executable, "-c", code, str(place)]) as child:
                assert child.stdout is not None
                assert (await child.stdout.receive()).strip() == b"have"
                assert pool.used == MIB
                child.send_signal(signal.SIGKILL)
                while pool.used:
                    await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()  # the pool has seen the connection end
        group.cancel_scope.cancel()
    pool.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "nonsense", [b"[]\n", b"{}\n", b"nothing\n", b"x" * 9000, b"[" * 4000 + b"\n"]
)
async def test_nonsense_ends_one_connection_and_not_the_pool(
    tmp_path: Path, nonsense: bytes
) -> None:
    pool, place = MemoryPool(MIB), tmp_path / "pool"
    async with anyio.create_task_group() as group:
        await group.start(serve_pool, pool, place)
        with anyio.fail_after(ENOUGH_S):
            async with await anyio.connect_unix(place) as stream:
                await stream.send(nonsense)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()
            async with connect_pool(place) as client:
                assert (await client.allocate(1)).size == PAGE
        await anyio.wait_all_tasks_blocked()  # the pool has seen the connection end
        group.cancel_scope.cancel()
    pool.close()


@pytest.mark.anyio
async def test_without_a_pool_the_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="nobody serves memory at"):
        async with connect_pool(tmp_path / "none"):
            raise AssertionError("it connected")


def open_files() -> list[str]:
    return [str(link.readlink()) for link in list(Path("/proc/self/fd").iterdir()) if link.exists()]


@pytest.mark.anyio
@pytest.mark.parametrize("message", [b"no words", b"[" * 1024, b"{}"])
async def test_what_came_with_nonsense_is_not_kept_open(tmp_path: Path, message: bytes) -> None:
    place, before = tmp_path / "peer", os.memfd_create("a-stranger")
    name = str(Path(f"/proc/self/fd/{before}").readlink())

    async def lie(stream: UNIXSocketStream) -> None:
        async with stream:
            await stream.send_fds(message.ljust(1024)[:1024], [before])

    with anyio.fail_after(ENOUGH_S):
        async with (
            await anyio.create_unix_listener(place) as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, lie)
            async with await anyio.connect_unix(place) as stream:
                with pytest.raises(DeviceError, match="no memory came"):
                    await receive_memory(stream)
            group.cancel_scope.cancel()
    os.close(before)

    assert name not in open_files()


@pytest.mark.anyio
async def test_a_call_that_was_cancelled_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    place, asked = tmp_path / "pool", anyio.Event()

    async def silent(stream: UNIXSocketStream) -> None:
        async with stream:
            await stream.receive()
            asked.set()
            await anyio.sleep_forever()

    with anyio.fail_after(ENOUGH_S):
        async with (
            await anyio.create_unix_listener(place) as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, silent)
            async with connect_pool(place) as client:
                async with anyio.create_task_group() as calls:
                    calls.start_soon(client.allocate, MIB)
                    await asked.wait()
                    calls.cancel_scope.cancel()
                with pytest.raises(DeviceError, match="connect anew"):
                    await client.allocate(PAGE)
            group.cancel_scope.cancel()
