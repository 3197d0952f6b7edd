"""What it costs to hand a large result from one process to another, beside raw bytes in a pipe.

    uv run python benchmarks/shared_memory.py [--rounds 21] [--mib 16]

Two processes. The producer has the bytes at hand, a mark as the last of them; the consumer is done
when it has looked through all of them for the mark and has said where it is. `pipe` sends them with
`multiprocessing.Pipe` as raw bytes. `shared memory` copies them into memory of a pool and sends a
note; both processes have it mapped, as they do for all but the first result. `a new mapping` hands
over memory that the consumer has not seen yet, with its descriptor, each time. All in shuffled
order in every round; medians in milliseconds by the clock, from before the producer's copy to the
consumer's answer; on a machine that is busy the quickest says more, because medians then measure
how long a process waits for a core. The copy and the read are shown alone as well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from sashizu_gpu_driver.pinned import MemoryPool, SharedMemory, adopt

MIB = 1024 * 1024
MARK = b"\x01"


def place_of_mark(data: bytes | SharedMemory) -> int:
    """Look at every byte up to the mark, as fast as the C library does: the same for both ways."""
    return data._map.find(MARK) if isinstance(data, SharedMemory) else data.find(MARK)


def consume(pipe: Connection, notes: socket.socket) -> None:
    known: dict[str, SharedMemory] = {}
    while True:
        kind, fds, _, _ = socket.recv_fds(notes, 1, 1)
        if not kind:
            return
        if kind == b"p":
            answer = place_of_mark(pipe.recv_bytes())
        elif kind == b"k":
            memory = adopt(fds[0])
            known["memory"] = memory
            answer = memory.size
        elif kind == b"s":
            answer = place_of_mark(known["memory"])
        else:
            memory = adopt(fds[0])
            answer = place_of_mark(memory)
            memory.close()
        notes.sendall(answer.to_bytes(8, "little", signed=True))


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--mib", type=int, default=16)
    options = parser.parse_args()
    size = options.mib * MIB
    data = bytes(size - 1) + b"\x01"
    ours, theirs = socket.socketpair()
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=consume, args=(receiving, theirs), daemon=True)
    child.start()
    pool = MemoryPool(4 * size)
    memory, other = pool.allocate(size), pool.allocate(size)

    def answer() -> None:
        found = int.from_bytes(ours.recv(8, socket.MSG_WAITALL), "little", signed=True)
        assert found == size - 1, found

    def by_pipe() -> None:
        ours.sendall(b"p")
        sending.send_bytes(data)
        answer()

    def by_memory() -> None:
        memory.view[:size] = data
        ours.sendall(b"s")
        answer()

    def by_new_mapping() -> None:
        other.view[:size] = data
        socket.send_fds(ours, [b"n"], [other.fd])
        answer()

    def copy() -> None:
        memory.view[:size] = data

    socket.send_fds(ours, [b"k"], [memory.fd])
    ours.recv(8, socket.MSG_WAITALL)
    ways: dict[str, Callable[[], object]] = {
        "pipe": by_pipe,
        "shared memory": by_memory,
        "shared memory, a new mapping": by_new_mapping,
        "the copy alone": copy,
        "the read alone": lambda: place_of_mark(memory),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(options.rounds):
        for name in random.sample(list(ways), len(ways)):
            found[name].append(milliseconds(ways[name]))
    ours.close()
    child.join(10)
    state = "pinned" if memory.pinned else f"not pinned: {memory.reason}"
    print(f"{options.mib} MiB, {options.rounds} rounds, {os.cpu_count()} cores, memory {state}\n")
    pool.close()
    pipe = statistics.median(found["pipe"])
    print(
        "| way | median | quickest | pipe is so many times slower |\n| --- | ---: | ---: | ---: |"
    )
    for name, times in found.items():
        median = statistics.median(times)
        print(f"| {name} | {median:.2f} ms | {min(times):.2f} ms | {pipe / median:.1f} |")


if __name__ == "__main__":
    main()
