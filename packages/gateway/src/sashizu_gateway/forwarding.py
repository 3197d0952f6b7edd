"""One call of a client as a model call of ours: the same bound, hold, record and bill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any

import anyio
import orjson
from sashizu_core.errors import Fault, ModelError
from sashizu_core.types import Bound, Completion, Message, ModelInfo, ModelRequest, Usage

from sashizu_gateway.bounding import Measure, Prefixes, encoded
from sashizu_gateway.dialects.dialect import Dialect
from sashizu_gateway.dialects.found import Found
from sashizu_gateway.reading import StreamReader, WholeReader
from sashizu_gateway.upstream import LARGEST_ERROR, Answer, Unanswered, Upstream

__all__ = ["Forwarded", "Outgoing", "Relayed", "ToClient", "counted", "is_stream"]

Headers = Sequence[tuple[str, str]]


class Relayed(ModelError):
    """An attempt that failed, which is for the client to make again, or not."""

    @property
    def retryable(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class ToClient:
    """The way back to the client: `begin` with status and headers, then `piece` by piece, `end`.

    `unreadable` is told that the answer is too large to say what it cost.
    """

    begin: Callable[[int, Headers], Awaitable[None]]
    piece: Callable[[bytes], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    unreadable: Callable[[], None]


@dataclass(slots=True)
class Outgoing:
    """A request that may be sent. `headers` are those of the client that go along.

    `hides_usage` says that the client did not ask for its usage; `keeps_text` that the record does.
    """

    dialect: Dialect
    body: dict[str, Any]
    headers: Mapping[str, str]
    measure: Measure
    choices: int = 1
    hides_usage: bool = False
    keeps_text: bool = False
    on_sent: Callable[[], None] = field(default=lambda: None)


class Forwarded:
    """A model that is one request to an upstream, and whose answer goes to the client as it comes.

    `complete` sends the request with the output cap that it is given, once.
    """

    def __init__(
        self,
        info: ModelInfo,
        upstream: Upstream,
        outgoing: Outgoing,
        client: ToClient,
        prefixes: Prefixes,
    ) -> None:
        self._info = info
        self._upstream = upstream
        self._outgoing = outgoing
        self._client = client
        self._prefixes = prefixes
        self._thoughts: Sequence[str] = ()
        self.answered = False

    @property
    def info(self) -> ModelInfo:
        return self._info

    def bound(self, request: ModelRequest) -> Bound:
        """The measure, the overhead that was learned, and the cap for every choice."""
        measure = self._outgoing.measure
        tokens, rule = measure.input_tokens + self._upstream.overhead.per_request, measure.rule
        window = self._info.context_window
        if window is not None and tokens > window:
            tokens, rule = window, "context window"
        return Bound(tokens, request.max_output_tokens or 0, rule)

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._upstream.overhead.learn(bound.input_tokens, usage.input_tokens)
        self._prefixes.remember(self._outgoing.measure.mark, usage, self._thoughts)

    async def count(self, request: ModelRequest) -> int | None:  # noqa: ARG002 - it is one request
        """Ask the upstream, which may say that it does not count."""
        upstream, dialect = self._upstream, self._outgoing.dialect
        if dialect.count_path is None or not upstream.counts:
            return None
        body = encoded(dialect.count_body(self._outgoing.body))
        headers = {**self._outgoing.headers, "content-type": "application/json"}
        headers["accept"] = "application/json"
        try:
            async with upstream.request("POST", dialect.count_path, body, headers) as answer:
                if answer.status in (404, 405, 501):
                    upstream.counts = False
                if answer.status != 200:
                    return None
                tokens = counted(await answer.beginning())
                return None if tokens is None else dialect.with_margin(tokens)
        except Unanswered:
            return None  # then the bound from the text has to do

    async def complete(
        self,
        request: ModelRequest,
        *,
        on_text: Callable[[str], None] | None = None,  # noqa: ARG002 - the client is shown it
    ) -> Completion:
        """Send it, and pass the answer on.

        Raises:
            Relayed: there was none, it was a failure, or it broke off.
        """
        outgoing = self._outgoing
        outgoing.on_sent()
        cap = max(1, (request.max_output_tokens or 1) // outgoing.choices)
        outgoing.dialect.put_cap(outgoing.body, cap)
        stream = outgoing.body.get("stream") is True
        headers = {**outgoing.headers, "content-type": "application/json"}
        headers["accept"] = "text/event-stream" if stream else "application/json"
        found = Found()
        started = monotonic_ns()
        try:
            async with self._upstream.request(
                "POST", outgoing.dialect.path, encoded(outgoing.body), headers
            ) as answer:
                if not 200 <= answer.status < 300:
                    await self._fail(answer)
                ttft_ns = await self._pass(answer, found, started)
        except Unanswered as failure:
            fault: Fault = "transport" if failure.sent else "connect"
            raise Relayed(
                failure.reason, fault=fault, sent=failure.sent, usage=self._bill_so_far(found)
            ) from failure
        except anyio.get_cancelled_exc_class():
            if (usage := self._bill_so_far(found)) is None:
                raise
            # The client has read as far as it wanted to, and the bill is known.
            raise Relayed("the client hung up", fault="transport", sent=True, usage=usage) from None
        usage, self._thoughts = _bill(found), found.thoughts
        if found.failed:
            raise Relayed(
                f"the provider reports: {found.failed}", fault="transport", sent=True, usage=usage
            )
        return Completion(
            Message("assistant", found.text),
            usage,
            found.finish,
            model=found.model,
            response_id=found.response_id,
            ttft_ns=ttft_ns,
        )

    def _bill_so_far(self, found: Found) -> Usage | None:
        """What an answer was billed that broke off; None while any choice of it went on."""
        return _bill(found) if len(found.finished) >= self._outgoing.choices else None

    async def _pass(self, answer: Answer, found: Found, started: int) -> int | None:
        """Pass an answer on, piece by piece; nanoseconds to the first one."""
        outgoing = self._outgoing
        reader: StreamReader | WholeReader = (
            StreamReader(
                outgoing.dialect, found, text=outgoing.keeps_text, hide=outgoing.hides_usage
            )
            if is_stream(answer.headers)
            else WholeReader(outgoing.dialect, found)
        )
        self.answered = True
        await self._client.begin(answer.status, answer.headers)
        ttft_ns: int | None = None
        async for piece in answer.pieces():
            if ttft_ns is None:
                ttft_ns = monotonic_ns() - started
            if shown := reader.feed(piece):
                await self._client.piece(shown)
            if isinstance(reader, WholeReader) and reader.lost:
                self._client.unreadable()
        if shown := reader.end():
            await self._client.piece(shown)
        await self._client.end()
        return ttft_ns

    async def _fail(self, answer: Answer) -> None:
        """Pass a failure on, without our key in it.

        Raises:
            Relayed: always, also when the client has hung up.
        """
        failure = Relayed(
            f"status {answer.status}",
            fault=_fault(answer.status),
            sent=answer.status in (504, 524),  # who waited for the service gave up, not the service
            status=answer.status,
        )
        try:
            body = self._upstream.without_secrets(await answer.beginning())
            self.answered = True
            kept = [pair for pair in answer.headers if pair[0] != "content-length"]
            await self._client.begin(answer.status, kept)
            await self._client.piece(body[:LARGEST_ERROR])
            await self._client.end()
        except anyio.get_cancelled_exc_class():
            raise failure from None
        raise failure


def is_stream(headers: Headers) -> bool:
    """Whether an answer's headers, with names in lower case, say that it is a stream of events."""
    kind = next((value for name, value in headers if name == "content-type"), "")
    return kind.startswith("text/event-stream")


def _bill(found: Found) -> Usage | None:
    """What an answer was billed, once it has said that it was complete."""
    return found.usage if found.ended else None


def _fault(status: int) -> Fault:
    match status:
        case 401 | 403:
            return "auth"
        case 402:
            return "quota"
        case 404 | 410:
            return "not_found"
        case 413:
            return "context_too_long"
        case 429:
            return "rate_limited"
        case _ if status >= 500:
            return "overloaded"
        case _:
            return "invalid_request"


def counted(body: bytes) -> int | None:
    """The tokens that a count says, in the words of either service."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = told.get("input_tokens") if isinstance(told, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        return None
    return found
