"""As much of a Windows kernel as the driver asks for.

Speakeasy has a kernel too, which answers most calls and does nothing. Here memory, handles,
references, locks, the device and its link are counted, so that what is wrong or left behind can be
seen.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import layout
from processor import Processor

PID, IMAGE = 4242, b"python.exe"
MISSING, NO_SUCH_PROCESS, STILL_RUNNING = 0xC0000034, 0xC000000B, 0x103
SYNCHRONIZATION_EVENT = 1
FREED = b"\xdd"
ONE_SECOND = 10_000_000  # ticks of the performance counter


class Kernel(Processor):
    """One driver, loaded and not yet begun, and all that it has of the system."""

    def __init__(self, driver: Path) -> None:
        super().__init__(driver)
        self.pool: dict[int, int] = {}
        self.handles: dict[int, str] = {}
        self.held: Counter[int] = Counter()
        self.devices: dict[str, tuple[int, int, int]] = {}
        self.links: dict[str, str] = {}
        self.rights: list[tuple[int, str]] = []
        self.protected: dict[int, list[tuple[int, str]]] = {}
        self.sections: list[tuple[str, int]] = []
        self.completed: Counter[int] = Counter()
        self.order: list[str] = []
        self.thread_ended = False
        self._events: dict[int, tuple[int, bool]] = {}
        self._spun: set[int] = set()
        self._regions = 0
        self._ticks = 0
        self._names: dict[int, str] = {}
        self._thread: tuple[int, int] | None = None
        self._waiter: dict[str, int] = {}
        self._opened = 0x100
        self._process = self.room(16)
        self._thread_object = self.room(16)
        self._image = self.room(16, IMAGE + bytes(6))
        names = ("system", "administrators", "everybody")
        self._identities = {self.room(16): name for name in names}
        self.stand_in(self._functions())
        self.give("SeExports", self.room(8, struct.pack("<Q", self._exports())))

    def call(self, address: int, *words: int) -> int:
        """Run a function of the driver to its end; what it answered, 32 bits."""
        answer = super().call(address, *words)
        if self._spun or self._regions:
            self.faults.append("it came back with a lock")
            self._spun, self._regions = set(), 0
        return answer

    def _exports(self) -> int:
        system, administrators, everybody = self._identities
        exports = bytearray(struct.pack("<Q", everybody) * (layout.IDENTITIES // 8))
        struct.pack_into("<Q", exports, layout.IDENTITY_OF_SYSTEM, system)
        struct.pack_into("<Q", exports, layout.IDENTITY_OF_ADMINISTRATORS, administrators)
        return self.room(len(exports), bytes(exports))

    def _functions(self) -> dict[str, tuple[Callable[..., int], int]]:
        return {
            "ExAllocatePoolWithTag": (self._allocate, 3),
            "ExFreePoolWithTag": (self._free, 2),
            "IoCreateDevice": (self._create_device, 7),
            "IoDeleteDevice": (self._delete_device, 1),
            "IoCreateSymbolicLink": (self._create_link, 2),
            "IoDeleteSymbolicLink": (self._delete_link, 1),
            "IofCompleteRequest": (self._complete, 2),
            "IoReleaseCancelSpinLock": (lambda _: 0, 1),
            "KeAcquireSpinLockRaiseToDpc": (self._spin, 1),
            "KeReleaseSpinLock": (self._unspin, 2),
            "KeEnterCriticalRegion": (lambda: self._region(1), 0),
            "KeLeaveCriticalRegion": (lambda: self._region(-1), 0),
            "KeInitializeEvent": (self._new_event, 3),
            "KeSetEvent": (self._set_event, 3),
            "KeWaitForSingleObject": (self._wait, 5),
            "KeQueryPerformanceCounter": (self._now, 1),
            "ObOpenObjectByPointer": (self._open_object, 7),
            "ObReferenceObjectByHandle": (self._reference, 6),
            "ObfDereferenceObject": (self._dereference, 1),
            "PsCreateSystemThread": (self._create_thread, 7),
            "PsTerminateSystemThread": (self._end_thread, 1),
            "PsGetCurrentProcessId": (lambda: PID, 0),
            "PsGetProcessId": (lambda process: PID if process == self._process else 0, 1),
            "PsGetProcessExitStatus": (lambda _: STILL_RUNNING, 1),
            "PsGetProcessImageFileName": (lambda _: self._image, 1),
            "PsLookupProcessByProcessId": (self._find_process, 2),
            "RtlInitUnicodeString": (self._init_text, 2),
            "RtlCreateSecurityDescriptor": (lambda at, _: self._note(at, "descriptor"), 2),
            "RtlCreateAcl": (lambda at, *_: self._note(at, "list"), 3),
            "RtlAddAccessAllowedAce": (self._allow, 4),
            "RtlSetDaclSecurityDescriptor": (self._set_list, 4),
            "ZwSetSecurityObject": (self._protect, 3),
            "ZwCreateSection": (self._create_section, 7),
            "ZwClose": (self._close, 1),
        }

    # --- memory, handles and references -----------------------------------------------------------

    def _allocate(self, _kind: int, size: int, _tag: int) -> int:
        at = self.room(size, b"\xcd" * size)
        self.pool[at] = size
        return at

    def _free(self, at: int, _tag: int) -> int:
        size = self.pool.pop(at, None)
        if size is None:
            self.faults.append(f"{at:#x} is freed and was not allocated")
        else:
            self.write(at, FREED * size)
        return 0

    def _handle(self, out: int, what: str) -> int:
        self._opened += 4
        self.handles[self._opened] = what
        self.write(out, struct.pack("<Q", self._opened))
        return 0

    def _close(self, handle: int) -> int:
        if self.handles.pop(handle, None) is None:
            self.faults.append(f"handle {handle:#x} is closed and was not open")
        return 0

    def _hold(self, item: int, out: int) -> int:
        self.held[item] += 1
        self.write(out, struct.pack("<Q", item))
        return 0

    def _reference(self, handle: int, _a: int, _t: int, _m: int, out: int, _i: int) -> int:
        return self._hold(self._thread_object, out) if handle in self.handles else MISSING

    def _dereference(self, item: int) -> int:
        self.held[item] -= 1
        if self.held[item] < 0:
            self.faults.append(f"{item:#x} is given up more often than it was held")
        return 0

    def _find_process(self, pid: int, out: int) -> int:
        return self._hold(self._process, out) if pid == PID else NO_SUCH_PROCESS

    # --- the device -------------------------------------------------------------------------------

    def _text(self, at: int) -> str:
        length = self.number(at, 2)
        return self.read(self.number(at + 8), length).decode("utf-16-le")

    def _init_text(self, at: int, letters: int) -> int:
        end = letters
        while self.number(end, 2):
            end += 2
        size = end - letters
        self.write(at, struct.pack("<HHIQ", size, size + 2, 0, letters))
        return 0

    def _create_device(
        self, driver: int, _more: int, name: int, kind: int, traits: int, _alone: int, out: int
    ) -> int:
        at = self.room(layout.DEVICE_BYTES)
        self.devices[self._text(name)] = (at, kind & 0xFFFFFFFF, traits & 0xFFFFFFFF)
        self.write(driver + layout.DRIVER_DEVICE, struct.pack("<Q", at))
        self.write(out, struct.pack("<Q", at))
        return 0

    def _delete_device(self, device: int) -> int:
        self.order.append("device deleted")
        found = [name for name, (at, _, _) in self.devices.items() if at == device]
        if not found:
            self.faults.append("a device is deleted that is not there")
        for name in found:
            del self.devices[name]
        return 0

    def _create_link(self, link: int, name: int) -> int:
        self.order.append("link created")
        self.links[self._text(link)] = self._text(name)
        return 0

    def _delete_link(self, link: int) -> int:
        self.order.append("link deleted")
        return 0 if self.links.pop(self._text(link), None) else MISSING

    def _complete(self, irp: int, _boost: int) -> int:
        self.completed[irp] += 1
        if self.completed[irp] > 1:
            self.faults.append("a request is completed twice")
        return 0

    # --- rights -----------------------------------------------------------------------------------

    def _note(self, at: int, what: str) -> int:
        self._names[at] = what
        return 0

    def _allow(self, rights: int, _revision: int, mask: int, identity: int) -> int:
        if self._names.get(rights) != "list":
            self.faults.append("rights are added to what is no list")
        self.rights.append((mask & 0xFFFFFFFF, self._identities.get(identity, "nobody known")))
        return 0

    def _set_list(self, descriptor: int, present: int, rights: int, _default: int) -> int:
        if not present & 0xFF or self._names.get(rights) != "list":
            self.faults.append("a descriptor gets no list")
        self._names[descriptor] = "descriptor with a list"
        return 0

    def _open_object(
        self, item: int, _flags: int, _state: int, _access: int, _kind: int, _mode: int, out: int
    ) -> int:
        return self._handle(out, f"object {item:#x}")

    def _protect(self, handle: int, what: int, descriptor: int) -> int:
        self.order.append("rights set")
        if self._names.get(descriptor) != "descriptor with a list" or what & 0xFFFFFFFF != 4:
            self.faults.append("what is set is no list of rights")
        item = self.handles.get(handle, "object 0x0").partition(" ")[2]
        self.protected[int(item, 16)] = list(self.rights)
        return 0

    def _create_section(
        self, out: int, _access: int, traits: int, size: int, _page: int, _kind: int, _file: int
    ) -> int:
        name = self._text(self.number(traits + layout.TRAITS_NAME))
        self.sections.append((name, self.number(size)))
        return self._handle(out, f"section {name}")

    # --- locks, time and threads ------------------------------------------------------------------

    def _spin(self, lock: int) -> int:
        if lock in self._spun:
            self.faults.append("a spin lock is taken twice")
        self._spun.add(lock)
        return 0

    def _unspin(self, lock: int, _level: int) -> int:
        self._spun.discard(lock)
        return 0

    def _region(self, step: int) -> int:
        self._regions += step
        return 0

    def _now(self, out: int) -> int:
        self._ticks += 1000
        if out:
            self.write(out, struct.pack("<Q", ONE_SECOND))
        return self._ticks

    def _new_event(self, event: int, kind: int, is_set: int) -> int:
        self._events[event] = (kind & 0xFF, bool(is_set & 0xFF))
        return 0

    def _set_event(self, event: int, _boost: int, _wait: int) -> int:
        kind, before = self._events[event]
        self._events[event] = (kind, True)
        return int(before)

    def _wait(self, item: int, _why: int, _mode: int, _alert: int, limit: int) -> int:
        if self._spun:
            self.faults.append("it waits with a spin lock")
        if item == self._thread_object:
            return self._run_thread()
        kind, is_set = self._events[item]
        if not is_set and not limit:
            self.faults.append("it waits for ever")
            self.stop()
        self._events[item] = (kind, is_set and kind != SYNCHRONIZATION_EVENT)
        return 0

    def _create_thread(
        self, out: int, _access: int, _traits: int, _process: int, _id: int, start: int, word: int
    ) -> int:
        self._thread = (start, word)
        return self._handle(out, "thread")

    def _run_thread(self) -> int:
        """Whoever waits for the end of the thread has it run from here, until it ends."""
        if self._thread is None or self.thread_ended:
            return 0
        start, word = self._thread
        self._waiter = self.leave_for(start, word)
        return 0

    def _end_thread(self, _status: int) -> int:
        """Go on where the thread was waited for, as if that wait came back."""
        self.thread_ended = True
        if self._waiter:
            self.come_back(self._waiter)
        else:
            self.faults.append("what is no thread ends as one")
        return 0
