"""Bytes that pass from one process to another through two small slots."""

import contextlib
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_core.devices import DeviceError
from sashizu_gpu_driver.pinned.lane import LaneReader, LaneWriter
from sashizu_gpu_driver.pinned.memory import PAGE, new_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory to share needs Linux")

CHILD = """
import socket, sys
from sashizu_gpu_driver.pinned import adopt
from sashizu_gpu_driver.pinned.lane import LaneReader, LaneWriter

notes = socket.socket(fileno=int(sys.argv[1]))
_, fds, _, _ = socket.recv_fds(notes, 1, 1)
reader = LaneReader(adopt(fds[0]), notes)
total = sum(sum(piece) for piece in reader.receive(1 << 30))
notes.sendall(str(total).encode())
"""


class Lane:
    """Both ends in one process; the writer is a thread."""

    def __init__(self):
        self.memory = new_memory(2 * PAGE)
        self.ours, self.theirs = socket.socketpair()
        for one in (self.ours, self.theirs):
            one.settimeout(60)
        self.writer = LaneWriter(self.memory, self.ours)
        self.reader = LaneReader(self.memory, self.theirs)

    def passed(self, data, most=1 << 30):
        thread = threading.Thread(target=self.writer.send, args=(data,))
        thread.start()
        try:
            return b"".join(bytes(piece) for piece in self.reader.receive(most))
        finally:
            thread.join()

    def close(self):
        self.ours.close()
        self.theirs.close()
        self.memory.close()


@pytest.fixture
def lane():
    one = Lane()
    yield one
    one.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5 * PAGE), min_size=1, max_size=4))
def test_what_was_sent_is_what_comes_whatever_its_size(sizes):
    lane = Lane()
    try:
        for number, size in enumerate(sizes):
            data = bytes((number + place // 7) % 256 for place in range(size))
            assert lane.passed(data) == data
    finally:
        lane.close()


def test_pieces_are_read_where_they_are(lane):
    assert lane.passed(memoryview(b"x" * (3 * PAGE))[PAGE:]) == b"x" * (2 * PAGE)
    assert bytes(lane.memory.view) == b"x" * (2 * PAGE)


def test_no_more_comes_than_was_agreed_to(lane):
    lane.ours.sendall((1 << 40).to_bytes(8, "little"))

    with pytest.raises(DeviceError, match="and 100 may come"):
        next(lane.reader.receive(100))


def test_a_reader_hears_that_its_writer_is_gone(lane):
    lane.ours.sendall((10).to_bytes(8, "little"))
    lane.ours.close()

    with pytest.raises(DeviceError, match="gone"):
        next(lane.reader.receive(100))


def test_a_writer_hears_that_its_reader_is_gone(lane):
    lane.theirs.close()

    with pytest.raises(DeviceError, match="gone"):
        lane.writer.send(b"hello")


def test_a_stranger_at_the_other_end_is_noticed(lane):
    lane.theirs.sendall(b"x")
    with pytest.raises(DeviceError, match="no reader"):
        lane.writer.send(b"hello")


def test_a_note_that_is_none_is_noticed(lane):
    lane.ours.sendall((10).to_bytes(8, "little") + b"?")

    with pytest.raises(DeviceError, match="no note"):
        next(lane.reader.receive(100))


def test_who_is_silent_for_too_long_is_not_waited_for(lane):
    lane.ours.settimeout(0.01)

    with pytest.raises(DeviceError, match="timed out"):
        lane.writer.send(b"hello")


def test_what_is_still_read_is_not_written_over_after_a_failure(lane):
    lane.ours.settimeout(0.01)
    with pytest.raises(DeviceError, match="timed out"):
        lane.writer.send(b"first")
    pieces = lane.reader.receive(100)
    piece = next(pieces)

    with pytest.raises(DeviceError, match="in the middle"):
        lane.writer.send(b"other")

    assert bytes(piece) == b"first"


def test_who_left_pieces_out_receives_nothing_else(lane):
    lane.ours.sendall((10).to_bytes(8, "little") + b"p")
    next(lane.reader.receive(100))

    with pytest.raises(DeviceError, match="in the middle"):
        next(lane.reader.receive(100))


def test_memory_without_room_for_two_slots_is_no_lane(lane):
    with contextlib.closing(new_memory(1)) as memory:
        with pytest.raises(DeviceError, match="no lane"):
            LaneWriter(memory, lane.ours).send(b"hello")
        with pytest.raises(DeviceError, match="no lane"):
            next(LaneReader(memory, lane.theirs).receive(100))


class Dribbling:
    """A socket that gives what came byte by byte."""

    def __init__(self, notes):
        self.notes = notes
        self.sendall = notes.sendall

    def recv(self, _count, _flags=0):
        return self.notes.recv(1)


def test_a_size_that_comes_in_parts_is_a_size(lane):
    lane.memory.view[:3] = b"abc"
    lane.ours.sendall((3).to_bytes(8, "little") + b"p")

    pieces = LaneReader(lane.memory, Dribbling(lane.theirs)).receive(100)

    assert [bytes(piece) for piece in pieces] == [b"abc"]


def test_another_process_reads_what_was_written_here():
    memory = new_memory(2 * PAGE)
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", CHILD, str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as child:
        ours.settimeout(60)
        socket.send_fds(ours, [b"m"], [memory.fd])
        LaneWriter(memory, ours).send(b"\x01" * 100_000)
        assert ours.recv(16) == b"100000"
        assert child.wait(60) == 0
    memory.close()
