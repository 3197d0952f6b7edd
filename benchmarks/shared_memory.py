"""What it costs to hand a large result from one process to another, beside raw bytes in a pipe.

    uv run python benchmarks/shared_memory.py [--rounds 21] [--kib 16384]

Two processes. The producer has the bytes at hand, a mark as the last of them; the consumer is done
when it has looked through all of them for the mark and has said where it is. `pipe` sends them with
`multiprocessing.Pipe` as raw bytes. `a lane` passes them piece by piece through two slots of
256 KiB that both have mapped. `one memory` copies them into memory as large as they are, which
both have mapped, and sends a note; `a new mapping` hands over memory that the consumer has not seen
yet, with its descriptor, each time. All in shuffled order in every round, from before the
producer's copy to the consumer's answer: CPU of both processes (median), and the clock. On a
machine that is busy the clock's median measures how long a process waits for a core; the quickest
round says more. The copy into memory as large as the result is shown alone too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import statistics
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from sashizu_gpu_driver.pinned import MemoryPool, SharedMemory, adopt
from sashizu_gpu_driver.pinned.lane import LaneReader, LaneWriter

KIB = 1024
LANE = 512 * KIB
MARK = b"\x01"


def place_of_mark(data: bytes | SharedMemory) -> int:
    """Look at every byte up to the mark, as fast as the C library does: the same for both ways."""
    return data._map.find(MARK) if isinstance(data, SharedMemory) else data.find(MARK)


def place_over_lane(lane: LaneReader, memory: SharedMemory) -> int:
    """The same over all pieces, each of which lies in one half of the lane's memory."""
    found, passed, slot = -1, 0, memory.size // 2
    for number, piece in enumerate(lane.receive(1 << 40)):
        start = number % 2 * slot
        at = memory._map.find(MARK, start, start + len(piece))
        found = found if at < 0 else passed + at - start
        passed += len(piece)
    return found


def consume(pipe: Connection, notes: socket.socket, lane_notes: socket.socket) -> None:
    known: dict[str, SharedMemory] = {}
    while True:
        kind, fds, _, _ = socket.recv_fds(notes, 1, 1)
        if not kind:
            return
        if kind == b"p":
            answer = place_of_mark(pipe.recv_bytes())
        elif kind in b"ml" and fds:
            known[kind.decode()] = memory = adopt(fds[0])
            answer = memory.size
        elif kind == b"m":
            answer = place_of_mark(known["m"])
        elif kind == b"l":
            lane = LaneReader(known["l"], lane_notes)
            answer = place_over_lane(lane, known["l"])
        else:
            memory = adopt(fds[0])
            answer = place_of_mark(memory)
            memory.close()
        notes.sendall(struct.pack("<qq", answer, time.process_time_ns()))


@dataclass
class Taken:
    """Milliseconds of one round: by the clock, and of CPU in both processes together."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


class Stopwatch:
    """Measures the producer, and learns from each answer what the consumer has used so far."""

    def __init__(self) -> None:
        self.theirs_ns = 0

    def time(self, action: Callable[[], object], taken: Taken) -> None:
        wall, ours, theirs = time.perf_counter_ns(), time.process_time_ns(), self.theirs_ns
        action()
        taken.wall.append((time.perf_counter_ns() - wall) / 1e6)
        used = time.process_time_ns() - ours + self.theirs_ns - theirs
        taken.cpu.append(used / 1e6)


class Producer:
    """Hands the same bytes over in each way, and waits for the consumer's answer."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = bytes(size - 1) + MARK
        self.watch = Stopwatch()
        self.notes, theirs = socket.socketpair()
        lane_notes, lane_theirs = socket.socketpair()
        receiving, self.pipe = multiprocessing.Pipe(duplex=False)
        ends = (receiving, theirs, lane_theirs)
        self.child = multiprocessing.Process(target=consume, args=ends, daemon=True)
        self.child.start()
        self.pool = MemoryPool(4 * size + LANE)
        self.memory, self.other = self.pool.allocate(size), self.pool.allocate(size)
        slots = self.pool.allocate(LANE)
        self.lane = LaneWriter(slots, lane_notes)
        for kind, shared in ((b"m", self.memory), (b"l", slots)):
            socket.send_fds(self.notes, [kind], [shared.fd])
            self.answer(shared.size)

    def answer(self, expected: int) -> None:
        found, self.watch.theirs_ns = struct.unpack("<qq", self.notes.recv(16, socket.MSG_WAITALL))
        assert found == expected, found

    def by_pipe(self) -> None:
        self.notes.sendall(b"p")
        self.pipe.send_bytes(self.data)
        self.answer(self.size - 1)

    def by_lane(self) -> None:
        self.notes.sendall(b"l")
        self.lane.send(self.data)
        self.answer(self.size - 1)

    def by_memory(self) -> None:
        self.copy()
        self.notes.sendall(b"m")
        self.answer(self.size - 1)

    def by_new_mapping(self) -> None:
        self.other.view[: self.size] = self.data
        socket.send_fds(self.notes, [b"n"], [self.other.fd])
        self.answer(self.size - 1)

    def copy(self) -> None:
        self.memory.view[: self.size] = self.data

    def end(self) -> None:
        self.notes.close()
        self.child.join(10)
        self.pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--kib", type=int, default=16 * KIB)
    options = parser.parse_args()
    producer = Producer(options.kib * KIB)
    ways: dict[str, Callable[[], object]] = {
        "pipe": producer.by_pipe,
        "a lane": producer.by_lane,
        "one memory": producer.by_memory,
        "one memory, a new mapping": producer.by_new_mapping,
        "the copy alone": producer.copy,
    }
    found = {name: Taken() for name in ways}
    for way in ways.values():
        way()
    for _ in range(options.rounds):
        for name in random.sample(list(ways), len(ways)):
            producer.watch.time(ways[name], found[name])
    memory = producer.memory
    state = "pinned" if memory.pinned else f"not pinned: {memory.reason}"
    producer.end()
    print(f"{options.kib} KiB, {options.rounds} rounds, {os.cpu_count()} cores, memory {state}\n")
    print("| way | CPU | pipe / this | median | quickest | pipe / this |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    pipe_cpu, pipe_best = statistics.median(found["pipe"].cpu), min(found["pipe"].wall)
    for name, taken in found.items():
        cpu, best = statistics.median(taken.cpu), min(taken.wall)
        wall = statistics.median(taken.wall)
        print(
            f"| {name} | {cpu:.2f} ms | {pipe_cpu / cpu:.1f} "
            f"| {wall:.2f} ms | {best:.2f} ms | {pipe_best / best:.1f} |"
        )


if __name__ == "__main__":
    main()
