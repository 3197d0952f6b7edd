"""Records events: one `write()` for what belongs together, one sync for all who wait.

A process writes to files of its own, waits for no other process, and needs no database. After
`write` an event survives `kill -9`; after `durable` a power cut. When the disk is full the whole
call is refused and nothing of it is left; what has begun can still record how it ended.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from anyio.lowlevel import checkpoint
from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

from sashizu_audit.blobs import Blobs, open_blobs
from sashizu_audit.flusher import Flusher
from sashizu_audit.forks import survive_forks
from sashizu_audit.layout import open_layout
from sashizu_audit.members import LAST_WORDS, members_of
from sashizu_audit.segment import BrokenSegment
from sashizu_audit.segments import last_event
from sashizu_audit.spool import DEFAULT_OPTIONS, Spool, WriterOptions
from sashizu_audit.writer_lines import SYSTEM_CLOCK, Clock

__all__ = ["AuditWriter"]


class AuditWriter:
    """One writer of the record in `folder`; an `EventSink`.

    `parent` is the `child_handoff()` of the process that started this one. After `fork` the child
    becomes a writer of its own with its first event. Any thread may write.

    Raises:
        RecordError: the record cannot be opened; nothing was done.
    """

    persistent = True

    def __init__(
        self,
        folder: Path,
        *,
        options: WriterOptions = DEFAULT_OPTIONS,
        parent: Mapping[str, str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._options = options
        self._clock = clock
        self._layout = open_layout(folder, options.ballast_bytes)
        self._lock = threading.Lock()
        self._wordless = options.content == "none"
        self._blobs: Blobs | None = None
        if options.content == "blobs":
            self._blobs = open_blobs(folder, room_bytes=options.blob_bytes, keep_s=options.blob_s)
        self._halted = False  # closed, failed or forked: look before anything is written
        self._closed = False
        self._failure: RecordError | None = None
        self._forked_from: Mapping[str, Any] | None = None
        handoff = parent or {}
        origin = {k: v for k, v in handoff.items() if k == "parent_writer_id"}
        self._begin(handoff.get("writer_id", ""), origin)
        survive_forks(self)

    @property
    def writer_id(self) -> str:
        """Names this writer for ever; another one after a fork."""
        return self._spool.lines.writer_id

    @property
    def store_id(self) -> str:
        """Names the record."""
        return self._layout.store_id

    @property
    def path(self) -> Path:
        """The segment that is being written."""
        return self._spool.segment.path

    # --- EventSink --------------------------------------------------------------------------------

    def write(self, events: Sequence[Event]) -> None:
        """Take events, in order, all or none. On return they survive `kill -9`.

        Raises:
            RecordError: they were not taken.
        """
        if not events:
            return
        with self._lock:
            now = self._be_ready()
            spool = self._spool
            lines, segment = spool.lines, spool.segment
            seq, head, size = lines.seq, lines.head, segment.size
            try:
                data = lines.make(members_of(events, wordless=self._wordless), now)
                try:
                    spool.append(data)
                except OSError as error:
                    self._append_last_words(events, data, error)
                self._flusher.note()
            except BaseException:
                if segment.size == size:  # else they were written before an interrupt came
                    lines.seq, lines.head = seq, head
                raise

    @property
    def keeps_content(self) -> bool:
        """Whether texts are kept beside the record."""
        return self._blobs is not None

    def keep(self, text: str) -> str | None:
        """Keep a text that the next events name by its digest; it has to be without secrets.

        Returns the SHA-256 in hexadecimal, or None where it is not kept.

        Raises:
            RecordError: it cannot be written.
        """
        if self._blobs is None:
            return None
        with self._lock:
            try:
                return self._blobs.keep(text)
            except OSError as error:
                raise self._error(error) from error

    async def durable(self) -> None:
        """Return when everything written so far survives a power cut.

        Raises:
            RecordError: nobody can tell whether it does; the writer takes nothing more.
        """
        if self._forked_from is None:
            await self._flusher.durable()
        else:
            await checkpoint()  # this process has written nothing yet

    def child_handoff(self) -> Mapping[str, str]:
        """What `parent` of a child process's writer takes. Call it once for each child.

        The child's writer is announced in this one's chain, so that its file cannot go missing
        unnoticed.

        Raises:
            RecordError: it could not be announced.
        """
        child = uuid7()
        with self._lock:
            self._be_ready()
            self._append_own("writer.spawned", {"child_writer_id": child})
            self._flusher.note()
            parent = self.writer_id
        return {
            "folder": str(self._layout.folder),
            "writer_id": child,
            "parent_writer_id": parent,
        }

    def child_ended(self, handoff: Mapping[str, str]) -> None:
        """Record where the record of a child process ends, which `child_handoff` was called for.

        The last line that can be read counts; a child that was killed may have lost none, or one
        that it had not finished. Of one that never began there is nothing to tell.

        Raises:
            RecordError: it cannot be written.
        """
        child = handoff.get("writer_id", "")
        found = last_event(self._layout.folder, child) if child else None
        attrs: dict[str, Any] = {"child_writer_id": child}
        if found is not None:
            attrs |= {"seq": found[0], "h": found[1]}
        with self._lock:
            self._be_ready()
            self._append_own("writer.child_closed", attrs)
            self._flusher.note()

    # --- for callers without an event loop --------------------------------------------------------

    def flush(self) -> None:
        """`durable` for callers without an event loop; blocks.

        Raises:
            RecordError: as `durable`.
        """
        if self._forked_from is None:
            self._flusher.flush()

    def close(self) -> None:
        """End the segment and bring it to the disk. Closing twice changes nothing.

        Raises:
            RecordError: the last line could not be written, or not be brought to the disk; the
                files are closed all the same.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = self._halted = True
            if self._forked_from is not None:
                return
            failure = self._failure
            if failure is None:
                try:
                    self._spool.append_closed("closed")
                except OSError as error:
                    failure = self._error(error)
            self._flusher.note()
        self._flusher.stop()
        try:
            if self._blobs is not None:
                self._blobs.sync()
                self._blobs.sweep_if_due()
            self._spool.end()
        except OSError as error:
            failure = failure or self._error(error)
        if failure is None and self._flusher.error is not None:
            failure = self._error(self._flusher.error)
        if failure is not None:
            raise failure

    def __enter__(self) -> AuditWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- under the lock ---------------------------------------------------------------------------

    def _begin(self, writer_id: str, origin: Mapping[str, Any]) -> None:
        """Become a writer: its first segment, and the thread that flushes."""
        if not writer_id or self._layout.begun(writer_id):
            writer_id = uuid7()  # also for a handoff that is used a second time
        try:
            self._spool = Spool(self._layout, self._options, self._clock, writer_id, origin)
        except OSError as error:
            raise self._error(error) from error
        self._flusher = Flusher(self._sync, self._options.flush_s)
        self._flusher.note()

    def _be_ready(self) -> tuple[int, int]:
        """Be able to write, or raise; returns the time, as lines have it."""
        if self._halted or self._flusher.error is not None:
            self._resume()
        try:
            return self._spool.roll_if_due()
        except OSError as error:
            raise self._broken(error) from error
        except BaseException:
            # An interrupt between two segments: which of them goes on, nobody can tell.
            self._fail(RecordError("the record was interrupted; this writer takes no more"))
            raise

    def _resume(self) -> None:
        """Become a writer of our own after a fork; else say why nothing more is taken."""
        if self._closed:
            raise RecordError("the record is closed: this writer takes no more events")
        if self._forked_from is not None:
            self._begin("", {"forked_from": self._forked_from})
            self._forked_from = None
        if self._flusher.error is not None:
            raise self._error(self._flusher.error)
        if self._failure is not None:
            raise self._failure
        self._halted = False

    def _fail(self, failure: RecordError) -> None:
        self._failure = failure
        self._halted = True

    def _append_last_words(self, events: Sequence[Event], data: bytes, error: OSError) -> None:
        """Write how something ended after all, though `error` says that there is no room."""
        if not self._spool.full or any(event.kind not in LAST_WORDS for event in events):
            raise self._broken(error) from error
        try:
            self._spool.append_last_words(data)
        except OSError as final:
            raise self._broken(final) from final

    def _sync(self) -> None:
        """Bring to the disk what was written: first what events name, then the events."""
        if self._blobs is not None:
            self._blobs.sync()
        self._spool.sync()

    def _append_own(self, kind: str, attrs: Mapping[str, Any]) -> None:
        try:
            self._spool.append_own(kind, attrs)
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> RecordError:
        failure = self._error(error)
        if isinstance(error, BrokenSegment):
            self._fail(failure)
        return failure

    def _error(self, error: OSError) -> RecordError:
        return RecordError(
            f"the record in {str(self._layout.folder)!r} cannot be written: "
            f"{error.strerror or error}; nothing further is done. Make room there, or choose "
            "another folder with dir in [audit]"
        )

    # --- fork -------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let nothing be written until `after_fork` or `become_child`."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on as before, in the process that forked."""
        self._lock.release()

    def become_child(self) -> None:
        """Forget what belongs to the parent; the next event opens a segment of our own."""
        self._lock = threading.Lock()
        if self._closed or self._forked_from is not None:
            return
        lines = self._spool.lines
        self._forked_from = {
            "writer_id": lines.writer_id,
            "seq": lines.seq,
            "h": lines.head.decode(),
        }
        self._halted = True
        # The lock stays the parent's: it is let go with the last copy of the descriptor.
        self._spool.abandon()
