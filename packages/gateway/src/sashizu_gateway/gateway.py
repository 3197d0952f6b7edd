"""The gateway: one application that all clients talk to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256

import anyio
import orjson
from sashizu_core.errors import BudgetRefused, RecordError, SashizuError

from sashizu_gateway.asgi import Incoming, Receive, Room, Scope, Send
from sashizu_gateway.bounding import encoded
from sashizu_gateway.call import Call, make_call
from sashizu_gateway.callers import caller_of
from sashizu_gateway.clients import Agent, Client
from sashizu_gateway.dialects.chat import ChatCompletions
from sashizu_gateway.dialects.dialect import Dialect, Provider
from sashizu_gateway.dialects.messages import Messages
from sashizu_gateway.dialects.refusals import RequestRefused
from sashizu_gateway.dialects.responses import Responses
from sashizu_gateway.passing import pass_count, pass_models
from sashizu_gateway.settings import GatewaySettings
from sashizu_gateway.upstream import Upstream

__all__ = ["PREFIX", "Gateway"]

DIALECTS: tuple[Dialect, ...] = (Responses(), ChatCompletions(), Messages())

REST_S = 10.0
"""Seconds that the rest of an answer gets which says what it cost, once its client has gone."""

AGAIN_S = 2
"""Seconds after which a call is worth another attempt that something of ours was in the way of."""

MOST_PARTS = 2_000_000
"""Commas and brackets of a body; a text of as many fills the window of every model."""

PREFIX = "/v1"
"""Where the paths of the services begin."""

logger = logging.getLogger(__name__)


class Gateway:
    """An ASGI application. `upstreams` are the services by the provider whose API they speak.

    `ended` says why it takes nothing any more; empty while it does. `room` is the memory that
    requests have.
    """

    def __init__(
        self, upstreams: Mapping[Provider, Upstream], settings: GatewaySettings | None = None
    ) -> None:
        self.settings = settings or GatewaySettings()
        self.ended = ""
        self.room = Room()
        self._upstreams = upstreams
        self._clients: dict[bytes, Client] = {}
        self._calls = {f"{PREFIX}{dialect.path}": dialect for dialect in DIALECTS}
        self._counts = {
            f"{PREFIX}{dialect.count_path}": dialect for dialect in DIALECTS if dialect.count_path
        }

    def admit(self, client: Client) -> None:
        """Let a client in, with its token."""
        self._clients[_digest(client.secret)] = client

    def dismiss(self, client: Client) -> None:
        """Let a client in no more."""
        self._clients.pop(_digest(client.secret), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an answer that breaks off is left without an end."""
        if scope["type"] != "http":
            return
        request = Incoming(scope, receive, send)
        dialect = self._dialect(request)
        try:
            await self._serve(request, dialect)
        except RequestRefused as refused:
            await _refuse(request, dialect, refused)
        except Exception as error:  # noqa: BLE001 - told to the client, and to the log
            await _refuse(request, dialect, self._failure(error))
        finally:
            request.let_go()

    def _failure(self, error: Exception) -> RequestRefused:
        """What a client is told of what failed here."""
        if _holds(error, RecordError):
            # What cannot be recorded is not done, for this client or for any other.
            self.ended = "the record cannot be written"
            return RequestRefused("ended", self.ended)
        if (found := _holds(error, SashizuError)) is not None:
            return RequestRefused("ended", str(found), retry_after_s=AGAIN_S)
        logger.error("a call ended by an error that nobody expected", exc_info=error)
        return RequestRefused("broken", "the gateway failed; its log says why")

    def _dialect(self, request: Incoming) -> Dialect:
        """In which dialect to answer, whatever is asked."""
        known = self._calls.get(request.path) or self._counts.get(request.path)
        if known is not None:
            return known
        return DIALECTS[2] if request.header("anthropic-version") else DIALECTS[0]

    async def _serve(self, request: Incoming, dialect: Dialect) -> None:
        if request.path in ("/", "/health") and request.method in ("GET", "HEAD"):
            await request.answer(200, {"status": "ok"}, ())
            return
        client = self._clients.get(_digest(request.token)) if request.token else None
        if client is None:
            raise RequestRefused("unauthorized", "this gateway does not know the token")
        if self.ended:
            raise RequestRefused("ended", f"the gateway takes no calls any more: {self.ended}")
        path = request.path
        if path == f"{PREFIX}/models" or path.startswith(f"{PREFIX}/models/"):
            upstream = self._upstream(dialect)
            await pass_models(request, upstream, path.removeprefix(PREFIX))
            return
        if path not in self._calls and path not in self._counts:
            raise RequestRefused(
                "not_found",
                f"the gateway does not forward {path[:200]!r}: it knows no bound for that",
            )
        if request.method != "POST":
            raise RequestRefused("method", "this path takes POST")
        await self._asked(request, dialect, client)

    async def _asked(self, request: Incoming, dialect: Dialect, client: Client) -> None:
        """Serve what costs something."""
        body = dialect.check(_parsed(await request.body(self.settings.max_body, self.room)))
        encoded(body)  # what cannot be sent is refused before anything is held for it
        upstream = self._upstream(dialect)
        try:
            agent = client.agent_of(caller_of(request.header))
        except BudgetRefused as error:
            raise RequestRefused("budget", str(error)) from error
        refused: RequestRefused | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, request, group.cancel_scope)
            try:
                _check_model(upstream, body["model"])
                call = Call(request, dialect, upstream, client, agent, self.settings)
                if request.path in self._counts:
                    await pass_count(call, body)
                else:
                    await make_call(call, body)
            except RequestRefused as error:
                refused = error
            group.cancel_scope.cancel()
        if refused is not None:
            await _record(refused, dialect, agent)
            raise refused

    def _upstream(self, dialect: Dialect) -> Upstream:
        upstream = self._upstreams.get(dialect.provider)
        if upstream is None:
            raise RequestRefused(
                "not_found", f"this gateway has no upstream for {dialect.provider}"
            )
        return upstream


def _holds(error: Exception, kind: type[Exception]) -> Exception | None:
    """An error of a kind: the one that is given, or one of its group."""
    if isinstance(error, kind):
        return error
    if not isinstance(error, ExceptionGroup):
        return None
    return next((each for one in error.exceptions if (each := _holds(one, kind))), None)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _parsed(body: bytes) -> object:
    # Each list and object takes far more memory than it has bytes, and all of it at once.
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_PARTS:
        raise RequestRefused("too_large", f"the body has more than {MOST_PARTS} parts")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused("malformed", f"the body is no JSON: {error}") from error


def _check_model(upstream: Upstream, model: str) -> None:
    """Refuse what the operator does not let clients ask for."""
    if not upstream.target.takes(model):
        allowed = ", ".join(upstream.target.table.models)
        raise RequestRefused("denied", f"the model {model!r} is not allowed; allowed: {allowed}")


async def _until_gone(request: Incoming, scope: anyio.CancelScope) -> None:
    """A client that hangs up ends its call, but not an answer that is on its way as a whole."""
    await request.hung_up()
    if request.begun and not request.streams:
        with anyio.move_on_after(REST_S):
            await request.unreadable.wait()
    scope.cancel()


async def _record(refused: RequestRefused, dialect: Dialect, agent: Agent) -> None:
    """Put on record what the operator, or what bounds every request, does not let through."""
    agent.refused += 1
    if refused.kind in ("budget", "busy"):
        agent.over_budget = refused.message
    if refused.kind not in ("denied", "unbounded"):
        return
    fields = {
        "op": "chat",
        "severity": "warning",
        "category": "gateway",
        "decision": "deny",
        "decided_by": "policy",
        "decision_reason": refused.message[:500],
        "attrs": {"dialect": dialect.name, "kind": refused.kind},
    }
    await agent.recorder.record([agent.recorder.event("security.denied", fields)])


async def _refuse(request: Incoming, dialect: Dialect, refused: RequestRefused) -> None:
    if request.begun:
        return
    again = refused.retry_after_s is not None
    headers = [("x-should-retry", "true" if again else "false")]
    if again:
        headers.append(("retry-after", str(refused.retry_after_s)))
    if refused.kind == "unauthorized":
        headers.append(("www-authenticate", "Bearer"))
    await request.answer(dialect.status(refused), dialect.error(refused), headers)
