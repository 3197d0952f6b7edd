"""One server, shared by all that call it: started when it is needed, and again when it has ended.

Each life of a server belongs to one task, which opens its streams and closes them. Whoever calls
waits in a task of his own, so that a call that is cancelled, hangs or fails takes nobody along.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskGroup
from mcp import MCPError
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
    CallToolResult,
)
from pydantic import ValidationError
from sashizu_core.errors import SandboxError

from sashizu_mcp_server.client.configured import ServerConfig
from sashizu_mcp_server.client.faults import (
    BadReply,
    NotStarted,
    ReplyTooLarge,
    ServerFault,
    ServerGone,
    ServerRefused,
    ServerSilent,
    ToolChanged,
)
from sashizu_mcp_server.client.greeting import CLIENT, Session, greet, listed
from sashizu_mcp_server.client.life import Life, guard
from sashizu_mcp_server.client.listing import Listing, ServedTool
from sashizu_mcp_server.client.pace import Pace
from sashizu_mcp_server.client.stdio import TOO_LARGE, Streams
from sashizu_mcp_server.client.words import clean_line

__all__ = ["Connection"]

MOST_SAID = 1_000
"""Characters of an error of a server."""

LATE_S = 5.0
"""How much longer than its time a call may take before nobody waits for its end either."""

HANGING_UP_S = 2.0
"""How long it may take to learn why a connection ended, in seconds."""

CLOSED = "Connection closed"
"""What the library says of a connection that is over."""

MOST_SILENCES = 2
"""Calls in a row without an answer before a server is taken for dead."""

Opener = Callable[[Life], AbstractAsyncContextManager[Streams]]


class Connection:
    """A server. `open_` makes the streams of one life; `group` runs its owner tasks."""

    def __init__(
        self, config: ServerConfig, open_: Opener, group: TaskGroup, pace: Pace | None = None
    ) -> None:
        self.config = config
        self._open = open_
        self._group = group
        self._pace = pace or Pace()
        self._life: Life | None = None
        self._starting = anyio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._silences = 0
        self.protocol = ""

    # --- what callers ask -------------------------------------------------------------------------

    async def listing(self) -> Listing:
        """What it tells of its tools; starts it if nobody has.

        Raises:
            ServerFault: it cannot be asked. One that never started is not tried again here.
        """
        if self._life is not None and self._life.listing is None and self._life.fault is not None:
            raise self._life.fault
        life = await self._alive()
        if life.changed:
            await self._list_again(life)
        assert life.listing is not None
        return life.listing

    async def call(
        self, tool: ServedTool, arguments: dict[str, Any], progress: ProgressFnT | None = None
    ) -> CallToolResult:
        """Call a tool that was listed; nothing is ever called twice.

        Raises:
            ServerFault: there is no result; which one says why.
        """
        life = await self._alive()
        if life.changed:
            await self._list_again(life)
        assert life.listing is not None
        now = life.listing.tools.get(tool.name)
        if now is None or now.sha256 != tool.sha256:
            what = "does not offer" if now is None else "describes"
            why = f"{what} {tool.name!r}{' any more' if now is None else ' otherwise now'}"
            digest = now.sha256 if now is not None else ""
            raise ToolChanged(self.config.name, f"{why}, so it was not called", digest)
        result = await self._asked(life, self._call(life, tool, arguments, progress))
        if not isinstance(result, CallToolResult):
            why = "asks for something before it goes on, which nobody here gives"
            raise ServerRefused(self.config.name, why)
        return result

    def close(self) -> None:
        """End it; whoever waits for it hears so."""
        if self._life is not None:
            self._life.end(ServerGone(self.config.name, "was ended"))

    async def ended(self) -> None:
        """Return when it has ended, or was never started."""
        if self._life is not None:
            await self._life.ended.wait()

    # --- one question -----------------------------------------------------------------------------

    async def _call(
        self, life: Life, tool: ServedTool, arguments: dict[str, Any], progress: ProgressFnT | None
    ) -> Any:
        assert life.session is not None
        return await life.session.call_tool(
            tool.name,
            arguments,
            read_timeout_seconds=self.config.timeout_s,
            progress_callback=progress,
            allow_input_required=True,
            allow_claimed=True,
        )

    async def _asked(self, life: Life, question: Awaitable[Any]) -> Any:
        """The answer to a question; whatever goes wrong becomes a fault of the server."""
        try:
            with anyio.fail_after(self.config.timeout_s + LATE_S):
                answer = await question
        except MCPError as error:
            raise await self._fault(life, error) from None
        except TimeoutError:
            raise self._silent(life) from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = clean_line(".".join(str(part) for part in first["loc"]), 100)
            why = f"gave an answer that is not the protocol's: {where}: {first['msg']}"
            raise BadReply(self.config.name, clean_line(why, MOST_SAID)) from None
        except (RuntimeError, ValueError, RecursionError) as error:
            why = f"gave an answer that is not understood: {type(error).__name__}"
            raise BadReply(self.config.name, why) from None
        self._failures = self._silences = 0
        return answer

    async def _fault(self, life: Life, error: MCPError) -> ServerFault:
        said = clean_line(error.message, MOST_SAID)
        name = self.config.name
        if error.code == REQUEST_TIMEOUT and not life.ended.is_set():
            return self._silent(life)
        if error.code == CONNECTION_CLOSED and (fault := await self._closed(life, said)):
            return fault
        self._silences = 0
        if error.code == PARSE_ERROR:
            if TOO_LARGE in said:
                return ReplyTooLarge(name, f"said {said}")
            return BadReply(name, f"gave an answer that is not understood: {said}")
        if said == "Session terminated":
            fault = ServerGone(name, "has forgotten the session")
            life.end(fault)
            return fault
        return ServerRefused(name, f"answered with an error: {said} ({error.code})")

    async def _closed(self, life: Life, said: str) -> ServerFault | None:
        """Why a connection was closed; None where the server only uses that number."""
        if life.alive and self.config.entry.url is None and said != CLOSED:
            return None
        with anyio.move_on_after(HANGING_UP_S):
            await life.stop.wait()
        return life.fault or ServerGone(self.config.name, f"hung up: {said}")

    def _silent(self, life: Life) -> ServerFault:
        self._silences += 1
        fault = ServerSilent(
            self.config.name,
            f"did not answer within {self.config.timeout_s:g} s; "
            "whether the call took effect is not known",
        )
        if self._silences >= MOST_SILENCES:
            life.end(fault)
        return fault

    # --- its lives --------------------------------------------------------------------------------

    async def _alive(self) -> Life:
        """A life that has begun: the one there is, or another one after a while.

        Raises:
            ServerFault: it does not begin.
        """
        async with self._starting:
            life = self._life
            if life is not None and life.alive:
                return life
            if life is not None:
                await life.ended.wait()
            if self._failures >= self._pace.tries:
                why = life.fault.said if life is not None and life.fault is not None else ""
                raise NotStarted(
                    self.config.name,
                    f"failed {self._failures} times and is left alone; the last time it {why}",
                )
            await anyio.sleep(max(0.0, self._not_before - anyio.current_time()))
            return await self._begun()

    def _count_failure(self) -> None:
        self._failures += 1
        self._silences = 0
        self._not_before = anyio.current_time() + self._pace.wait_s(self._failures)

    async def _begun(self) -> Life:
        life = self._life = Life(self.config.name)
        self._group.start_soon(self._own, life)
        await life.ready.wait()
        if life.session is None:
            raise life.fault or NotStarted(self.config.name, "was not started")
        return life

    async def _own(self, life: Life) -> None:
        """Own one life: everything that is opened for it is opened and closed here."""
        try:
            async with self._open(life) as (heard, to_say):
                hears, guarded = anyio.create_memory_object_stream[SessionMessage | Exception](0)
                with hears, guarded:
                    async with anyio.create_task_group() as group:
                        group.start_soon(guard, life, heard, hears)
                        await self._live(life, guarded, to_say)
                        group.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever ends a server ends no one else
            life.fault = self._why(life, error)
        finally:
            if life.fault is None:
                life.fault = ServerGone(self.config.name, "was ended")
            self._count_failure()
            life.stop.set()
            life.ended.set()
            life.ready.set()

    async def _live(
        self,
        life: Life,
        heard: ObjectReceiveStream[SessionMessage | Exception],
        to_say: ObjectSendStream[SessionMessage],
    ) -> None:
        """Begin a session, tell those who wait for it, and keep it until it is asked to end."""
        async with Session(heard, to_say, client_info=CLIENT) as session:
            try:
                with anyio.fail_after(self.config.start_timeout_s):
                    await greet(session, self.config.protocol)
                    listing = await listed(self.config.name, session)
            except Exception as error:  # told before its end looks like the reason
                life.fault = self._why(life, error)
                raise
            self.protocol = session.protocol_version or ""
            life.session, life.listing = session, listing
            life.ready.set()
            await life.stop.wait()

    def _why(self, life: Life, error: BaseException) -> ServerFault:
        """Why a life ended, or did not begin; what is known already counts."""
        name = self.config.name
        causes = list(_leaves(error))
        fault = life.fault or next((c for c in causes if isinstance(c, ServerFault)), None)
        if life.session is not None:
            return fault or ServerGone(name, f"hung up: {_told(causes[0])}")
        if isinstance(fault, NotStarted):
            return fault
        if fault is not None:
            return NotStarted(name, f"could not be started: it {fault.said}")
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return NotStarted(name, f"did not start within {self.config.start_timeout_s:g} s")
        return NotStarted(name, f"could not be started: {_told(causes[0])}")

    async def _list_again(self, life: Life) -> None:
        assert life.session is not None
        life.changed = False
        life.listing = await self._asked(life, listed(self.config.name, life.session))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _told(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, SandboxError | MCPError):
        return clean_line(text, MOST_SAID)
    return clean_line(f"{type(error).__name__}: {text}", MOST_SAID)
