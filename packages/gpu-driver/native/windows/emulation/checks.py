"""Runs drivers in an emulator and checks what they do from their entry to their unloading.

    python checks.py VECTORS DRIVER...

Prints `ok` or `not ok` for each check, under a line with the driver's file; ends with 1 if a check
failed. Needs what `requirements.txt` names, in an environment of its own.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import layout
from kernel import IMAGE, PID, Kernel

CREATE, CLOSE, CONTROL, CLEANUP = 0, 2, 14, 18  # IRP_MJ_
PENDING, CANCELLED = 0x103, 0xC0000120
DEVICE, LINK = r"\Device\Sashizu", r"\DosDevices\Sashizu"
EVERYTHING = 0x10000000  # GENERIC_ALL
SECURE_OPEN = 0x100  # FILE_DEVICE_SECURE_OPEN
MIB = 1 << 20
OTHER_ABI = 2 << 16


class Checks:
    """One driver, in the order in which Windows would call it."""

    def __init__(self, driver: Path, vectors: dict[str, Any]) -> None:
        self.failed = 0
        self._machine = Kernel(driver)
        self._driver = self._machine.room(layout.DRIVER_BYTES)
        self._vectors = vectors
        self._statuses = {name: row[2] for name, row in vectors["statuses"].items()}

    def run(self) -> int:
        """How many checks failed."""
        self._entry()
        if self._machine.devices:
            self._frames()
            self._refusals()
            self._handles()
            self._waits()
        self._unloading()
        self._check(not self._machine.faults, "nothing was done that no driver may do")
        for fault in self._machine.faults:
            print(f"  {fault}")
        return self.failed

    def _check(self, good: bool, what: str) -> None:
        print(f"{'ok' if good else 'not ok'} - {what}")
        self.failed += not good

    # --- the calls of the system ------------------------------------------------------------------

    def _request(self, file: int, frame: bytes | None = None, code: int = 0, room: int = -1) -> int:
        machine = self._machine
        irp, place = machine.room(layout.IRP_BYTES), machine.room(layout.PLACE_BYTES)
        buffer = machine.room(max(len(frame), 16), frame) if frame is not None else 0
        size = len(frame or b"")
        for at, value, width in (
            (irp + layout.IRP_BUFFER, buffer, 8),
            (irp + layout.IRP_PLACE, place, 8),
            (place + layout.PLACE_FILE, file, 8),
            (place + layout.PLACE_IN, size, 4),
            (place + layout.PLACE_OUT, size if room < 0 else room, 4),
            (place + layout.PLACE_CODE, code, 4),
        ):
            machine.write(at, value.to_bytes(width, "little"))
        return irp

    def _dispatch(self, major: int, irp: int) -> int:
        machine = self._machine
        ((device, _, _),) = machine.devices.values()
        routine = machine.number(self._driver + layout.DRIVER_MAJOR + 8 * major)
        if not routine:  # then Windows completes it by itself
            return 0
        status = machine.call(routine, device, irp)
        said = machine.number(irp + layout.IRP_STATUS, 4)
        if status == PENDING:
            place = machine.number(irp + layout.IRP_PLACE)
            marked = machine.number(place + layout.PLACE_CONTROL, 1) & 1
            if not marked:
                machine.faults.append("a request pends and is not marked so")
        elif machine.completed[irp] != 1 or said != status:
            machine.faults.append(f"answered {status:#x}, completed with {said:#x}")
        return status

    def _open(self) -> int:
        file = self._machine.room(layout.FILE_BYTES)
        self._dispatch(CREATE, self._request(file))
        return file

    def _shut(self, file: int, *majors: int) -> None:
        for major in majors:
            self._dispatch(major, self._request(file))

    def _call(
        self, file: int, name: str, frame: bytes, code: int = 0, room: int = -1
    ) -> tuple[int, bytes, int]:
        """One call: the status, the frame afterwards, and how many bytes of it come back."""
        irp = self._request(file, frame, code or self._vectors["functions"][name]["windows"], room)
        status = self._dispatch(CONTROL, irp)
        machine = self._machine
        after = machine.read(machine.number(irp + layout.IRP_BUFFER), len(frame))
        return status, after, machine.number(irp + layout.IRP_INFORMATION)

    def _frame(self, name: str, **values: int) -> bytearray:
        """A frame for a function; values of 32 bits by the names of their fields."""
        layouts = self._vectors["structs"][self._vectors["functions"][name]["struct"]]
        frame = bytearray(layouts["size"])
        values = {"size": layouts["size"], "abi": self._vectors["abi"], **values}
        for field, value in values.items():
            struct.pack_into("<I", frame, layouts["offsets"][field], value)
        return frame

    def _value(self, name: str, frame: bytes, field: str, width: int = 4) -> int:
        layouts = self._vectors["structs"][self._vectors["functions"][name]["struct"]]
        at = layouts["offsets"][field]
        return int.from_bytes(frame[at : at + width], "little")

    # --- the checks -------------------------------------------------------------------------------

    def _entry(self) -> None:
        machine = self._machine
        self._check(machine.call(machine.entry, self._driver, machine.room(16)) == 0, "it begins")
        routines = [
            machine.number(self._driver + at)
            for at in (
                *(layout.DRIVER_MAJOR + 8 * major for major in (CREATE, CLOSE, CONTROL, CLEANUP)),
                layout.DRIVER_UNLOAD,
            )
        ]
        self._check(all(map(machine.holds, routines)), "what Windows calls is registered")
        device, kind, traits = machine.devices.get(DEVICE, (0, 0, 0))
        self._check((kind, traits) == (0x8337, SECURE_OPEN), "the device is there")
        self._check(machine.links == {LINK: DEVICE}, "its link is there")
        wanted = [(EVERYTHING, "system"), (EVERYTHING, "administrators")]
        self._check(
            machine.protected == {device: wanted}
            and machine.order == ["rights set", "link created"],
            "only the system and administrators may open it, from before it can be found",
        )

    def _frames(self) -> None:
        file = self._open()
        vector = self._vectors["functions"]["VERSION"]
        frame = bytearray.fromhex(vector["frame"])
        status, after, given = self._call(file, "VERSION", bytes(frame))
        told = {field: self._value("VERSION", after, field) for field in vector["values"]}
        self._check(
            (status, given) == (0, len(frame)), "a frame as the vectors have it is answered"
        )
        wanted = {"size": 48, "abi": 65536, "driver_abi": 65536, "system": 2, "features": 0x77}
        more = {"pool_bytes": 256 * MIB, "client_bytes": 128 * MIB, "granule": 65536, "slots": 1}
        self._check(told == {**wanted, **more}, "with the version, all of it in its place")
        before = bytes(self._frame("GPU_READ"))
        status, after, given = self._call(file, "GPU_READ", before)
        self._check(
            (status, after, given) == (self._statuses["NOT_READY"], before, 0),
            "a function that fails gives nothing back",
        )
        self._shut(file, CLEANUP, CLOSE)

    def _refusals(self) -> None:
        file = self._open()
        right = bytes(self._frame("VERSION"))
        wrong = bytes(self._frame("VERSION", size=47))
        for what, frame, more, status in (
            ("a frame too short", right[:47], {}, "SIZE"),
            ("a frame too short that says so", wrong[:47], {}, "SIZE"),
            ("a frame too long", right + bytes(1), {}, "SIZE"),
            ("a frame of nothing but its head", right[:8], {}, "SIZE"),
            ("a frame with less room to come back", right, {"room": 40}, "SIZE"),
            ("a frame that lies about its size", wrong, {}, "SIZE"),
            ("a frame of another version", self._frame("VERSION", abi=OTHER_ABI), {}, "ABI"),
            ("a function that is not there", right, {"code": 0x8337E100}, "UNKNOWN"),
        ):
            found = self._call(file, "VERSION", bytes(frame), **more)
            good = found == (self._statuses[status], bytes(frame), 0)
            self._check(good, f"{what} is refused as {status}")
        irp = self._request(file, None, self._vectors["functions"]["VERSION"]["windows"])
        self._check(self._dispatch(CONTROL, irp) == self._statuses["SIZE"], "no frame is refused")
        self._shut(file, CLEANUP, CLOSE)

    def _handles(self) -> None:
        machine = self._machine
        before = self._left()
        for what, majors in (("CLEANUP and CLOSE", (CLEANUP, CLOSE)), ("CLOSE alone", (CLOSE,))):
            file = self._open()
            alloc = self._frame("POOL_ALLOC", bytes=MIB)
            status, _, _ = self._call(file, "POOL_ALLOC", bytes(alloc))
            name, size = machine.sections[-1] if machine.sections else ("", 0)
            self._check(
                status == 0 and size == MIB and name.startswith("\\BaseNamedObjects\\SashizuPool-"),
                "memory of the pool is a section with a name",
            )
            register = self._frame("RUNTIME_REGISTER", paths=1)
            register[16:20] = b"test"
            self._call(file, "RUNTIME_REGISTER", bytes(register))
            _, listed, _ = self._call(file, "PROCESS_LIST", bytes(self._frame("PROCESS_LIST")))
            pid = int.from_bytes(listed[40:44], "little")
            good = self._value("PROCESS_LIST", listed, "count") == 1 and IMAGE in listed
            self._check(good and pid == PID, "the process is listed with the name of its image")
            self._shut(file, majors[0])
            self._check(self._left() == before, f"{what}: the first of them frees all of a handle")
            late, _, _ = self._call(file, "VERSION", bytes(self._frame("VERSION")))
            self._check(late == CANCELLED, "a call that comes later is refused")
            self._shut(file, *majors[1:])
            self._check(self._left() == before, f"{what}: nothing is freed twice")

    def _waits(self) -> None:
        machine, before = self._machine, self._left()
        code = self._vectors["functions"]["SLOT_WAIT"]["windows"]
        frame = bytes(self._frame("SLOT_WAIT", timeout_ms=60000))
        holder, first, second = self._open(), self._open(), self._open()
        status, _, _ = self._call(holder, "SLOT_WAIT", frame)
        self._check(status == 0, "the free turn is given at once")
        waiting = [self._request(file, frame, code) for file in (first, second)]
        for irp in waiting:
            self._check(self._dispatch(CONTROL, irp) == PENDING, "a second one waits")
        self._cancel(waiting[0])
        self._check(self._ended(waiting[0]) == CANCELLED, "a wait that is cancelled ends so")
        self._shut(second, CLEANUP)
        self._check(self._ended(waiting[1]) == CANCELLED, "CLEANUP ends the wait of its handle")
        waiting = [self._request(first, frame, code)]
        self._dispatch(CONTROL, waiting[0])
        self._shut(holder, CLEANUP)
        self._check(self._ended(waiting[0]) == 0, "CLEANUP gives a turn to who waits for it")
        self._shut(first, CLEANUP, CLOSE)
        self._shut(second, CLOSE)
        self._shut(holder, CLOSE)
        self._check(self._left() == before, "waits leave nothing")
        self._check(not machine.thread_ended, "the thread that looks at the time lives on")

    def _cancel(self, irp: int) -> None:
        """As `IoCancelIrp` does it."""
        machine = self._machine
        ((device, _, _),) = machine.devices.values()
        routine = machine.number(irp + layout.IRP_CANCEL_ROUTINE)
        machine.write(irp + layout.IRP_CANCEL, b"\1")
        machine.write(irp + layout.IRP_CANCEL_ROUTINE, bytes(8))
        if routine:
            machine.call(routine, device, irp)

    def _ended(self, irp: int) -> int:
        """The status of a request that pended; none while it does."""
        done = self._machine.completed[irp] == 1
        return self._machine.number(irp + layout.IRP_STATUS, 4) if done else -1

    def _left(self) -> tuple[int, list[str], int]:
        """What the driver holds: blocks of memory, handles, references."""
        machine = self._machine
        return len(machine.pool), sorted(machine.handles.values()), machine.held.total()

    def _unloading(self) -> None:
        machine = self._machine
        machine.order.clear()
        if routine := machine.number(self._driver + layout.DRIVER_UNLOAD):
            machine.call(routine, self._driver)
        self._check(machine.links == {}, "unloading deletes the link")
        self._check(machine.devices == {}, "unloading deletes the device")
        self._check(machine.order == ["link deleted", "device deleted"], "the link goes first")
        self._check(machine.thread_ended, "unloading ends the thread and waits for it")
        self._check(self._left() == (0, [], 0), "nothing is left behind")


def main(words: list[str]) -> int:
    if len(words) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    vectors = json.loads(Path(words[0]).read_text("utf-8"))
    failed = 0
    for driver in words[1:]:
        print(f"# {driver}")
        failed += Checks(Path(driver), vectors).run()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
