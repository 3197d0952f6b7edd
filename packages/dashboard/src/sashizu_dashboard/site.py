"""The pages of the dashboard, and what their forms do."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qs

import anyio
from sashizu_core import control
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.specs import RecordRows
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from sashizu_dashboard.access import Access
from sashizu_dashboard.guarding import Guarded
from sashizu_dashboard.history import MOST_SECONDS, MOST_SHOWN_ROWS, History
from sashizu_dashboard.live_run import LiveRun
from sashizu_dashboard.markup import asset, rendered
from sashizu_dashboard.shown import Shown
from sashizu_dashboard.streaming import streamed
from sashizu_dashboard.timeline import timeline_of
from sashizu_dashboard.watching import Watch

__all__ = ["site"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

LARGEST_FORM = 64 * 1024
MOST_LISTED = 100
"""Runs on one page of the history."""

MOST_TOLD = 200
"""Events on the page of a run when it is opened."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ASSETS = {
    "page.css": "text/css",
    "live.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
SAID = {
    "asked-to-end": "It was asked to end.",
    "answered": "The question was answered.",
    "not-at-work": "It is not at work any more.",
    "not-waiting": "That question does not wait any more.",
}
"""What a page says after a form was sent; nothing else may come through an address."""


class _Site:
    """Answers requests; who may make them was settled before."""

    def __init__(self, watch: Watch, history: History, access: Access) -> None:
        self._watch = watch
        self._history = history
        self._access = access
        self._reading = anyio.CapacityLimiter(4)
        self._asking = anyio.CapacityLimiter(2)  # what somebody asks in SQL keeps no page waiting

    # --- pages ------------------------------------------------------------------------------------

    async def now(self, request: Request) -> Response:
        """What is at work, and the newest runs."""
        runs = await self._listed()
        return self._page("now.html", request, runs=runs[:20], more=len(runs) > 20)

    async def history(self, request: Request) -> Response:
        """All runs that left a trace, a hundred at a time."""
        runs = await self._listed()
        given = request.query_params.get("from", "0")
        first = int(given) if given.isascii() and given.isdecimal() and len(given) < 8 else 0
        shown = runs[first : first + MOST_LISTED]
        return self._page(
            "history.html",
            request,
            runs=shown,
            first=first,
            total=len(runs),
            step=MOST_LISTED,
        )

    async def run(self, request: Request) -> Response:
        """One run, at work or not."""
        run_id = _run_id(request)
        live = await self._watch.find(run_id)
        at_work = live is not None and live.run.status == "running"
        shown, missing = await self._shown(run_id, live, at_work=at_work)
        if shown is None:
            return self._wrong(request, 404, missing)
        if not at_work and shown.run.ended_ns is None:
            shown = replace(shown, run=replace(shown.run, status=await self._noted(run_id, shown)))
        return self._page(
            "one.html",
            request,
            shown=shown,
            run=shown.run,
            line=timeline_of(shown),
            live=live if at_work else None,
            missing=missing,
            events=self._watch.newest(run_id, MOST_TOLD),
            pattern=f"run={run_id}&",
        )

    async def sql(self, request: Request) -> Response:
        """The box for SQL, and what a query gave."""
        if request.method != "POST":
            asked = request.query_params.get("q", "")[:LARGEST_FORM]
            return self._page("sql.html", request, sql=asked, rows=None, wrong="")
        form = await self._form(request)
        asked = form.get("sql", "")
        rows: RecordRows | None = None
        wrong = ""
        if asked.strip():
            try:
                rows = await anyio.to_thread.run_sync(
                    self._history.ask, asked, limiter=self._asking
                )
            except SashizuError as error:
                wrong = str(error)
        else:
            wrong = "nothing was asked"
        status = 400 if wrong else 200
        return self._page("sql.html", request, status, sql=asked, rows=rows, wrong=wrong)

    # --- what forms do ----------------------------------------------------------------------------

    async def cancel(self, request: Request) -> Response:
        """End a run, or one of its agents."""
        run_id, form = _run_id(request), await self._form(request)
        done = await control.cancel(run_id, form.get("agent") or None, self._watch.home)
        return _back(run_id, "asked-to-end" if done else "not-at-work")

    async def answer(self, request: Request) -> Response:
        """Answer what an agent waits for."""
        run_id, form = _run_id(request), await self._form(request)
        answer = form.get("answer", "")
        if answer not in ("deny", "once", "run"):
            raise UsageError("an answer is 'deny', 'once' or 'run'")
        known = cast(Literal["deny", "once", "run"], answer)
        done = await control.approve(run_id, form.get("question", ""), known, self._watch.home)
        return _back(run_id, "answered" if done else "not-waiting")

    async def enter(self, request: Request) -> Response:
        """Exchange the token for a cookie.

        The answer is a page that leads on, no redirect: a cookie that is for pages of ours alone
        would not come along on one that began elsewhere.
        """
        if request.method == "POST":
            token = (await self._body(request)).get("token", "").strip()
        else:
            token = request.query_params.get("token", "")
        entered = self._access.admits(token)
        page = rendered("enter.html", access=self._access, wrong=bool(token), entered=entered)
        answer = HTMLResponse(page, 200 if entered or not token else 401)
        if entered:
            answer.headers.append("set-cookie", self._access.set_cookie())
        return answer

    # --- what is neither --------------------------------------------------------------------------

    async def feed(self, request: Request) -> Response:
        """Events as they come; a browser that comes back says which it saw last."""
        place = request.headers.get("last-event-id") or request.query_params.get("after", "")
        run_id = request.query_params.get("run", "")
        if run_id and not _ID.fullmatch(run_id):
            raise UsageError("that is no id of a run")
        stream = streamed(self._watch, place[:80], run_id)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def asset(self, request: Request) -> Response:
        """A file that is shipped with the pages."""
        name = request.path_params["name"]
        if name not in _ASSETS:
            return self._wrong(request, 404, "there is no such page")
        return Response(asset(name), media_type=_ASSETS[name])

    async def failed(self, request: Request, error: Exception) -> Response:
        """What went wrong, as a page."""
        if isinstance(error, UsageError):
            return self._wrong(request, 400, str(error))
        return self._wrong(request, 502, str(error))

    async def broke(self, request: Request, error: Exception) -> Response:
        """A bug of ours, as a page; what is served goes on."""
        logger.error("the page %s failed", request.url.path, exc_info=error)
        return self._wrong(request, 500, f"unexpected {type(error).__name__}")

    async def absent(self, request: Request, error: Exception) -> Response:
        """There is nothing at that address, or not for that method."""
        status = getattr(error, "status_code", 404)
        return self._wrong(request, status, "there is no such page")

    # --- parts ------------------------------------------------------------------------------------

    async def _shown(
        self, run_id: str, live: LiveRun | None, *, at_work: bool
    ) -> tuple[Shown | None, str]:
        """What is known of a run, and what is not, as a text."""
        if live is not None and at_work and live.whole:
            return live.shown(self._watch.clock()), ""
        asked_ns, missing, before = self._watch.clock(), "", None
        try:
            before = await self._blocking(partial(self._history.read, run_id, ended=not at_work))
        except SashizuError as error:
            missing = str(error)
        if live is None:
            return before, missing
        if at_work and before is not None:
            live.begin_with(before, asked_ns)
        elif before is not None:
            return before, ""
        live.whole = True  # there is no more to be had, and asking again would be on record again
        return live.shown(self._watch.clock()), missing

    async def _noted(self, run_id: str, shown: Shown) -> str:
        """How a run ended whose end is not on record, as far as it or the lack of it tells."""
        try:
            find = partial(control.find_run, run_id, self._watch.home)
            return (await self._blocking(find)).status
        except UsageError:
            return shown.run.status

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        said = SAID.get(request.query_params.get("said", ""), "")
        text = rendered(
            name,
            access=self._access,
            at_work=self._watch.at_work,
            place=self._watch.place,
            said=said,
            path=request.url.path,
            most_rows=MOST_SHOWN_ROWS,
            most_seconds=MOST_SECONDS,
            **values,
        )
        return HTMLResponse(text, status)

    def _wrong(self, request: Request, status: int, why: str) -> Response:
        return self._page("wrong.html", request, status, why=why)

    async def _listed(self) -> list[control.RunInfo]:
        at_work = [run.info.run_id for run in self._watch.at_work]
        return list(await self._blocking(partial(self._history.runs, at_work)))

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(call, limiter=self._reading)

    async def _form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form of ours.

        Raises:
            UsageError: it is none of ours, or too large.
        """
        form = await self._body(request)
        if not self._access.owns(form.get("form", "")):
            raise UsageError("that form is of an earlier dashboard: load the page again")
        return form

    async def _body(self, request: Request) -> Mapping[str, str]:
        body = b""
        async with aclosing(request.stream()) as parts:
            async for part in parts:
                body += part
                if len(body) > LARGEST_FORM:
                    raise UsageError(f"a form has at most {LARGEST_FORM} bytes")
        try:
            found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=10)
        except ValueError as error:
            raise UsageError("that is no form") from error
        return {name: values[0] for name, values in found.items()}


def site(watch: Watch, history: History, access: Access) -> ASGIApp:
    """The whole application, behind its door."""
    pages = _Site(watch, history, access)
    routes = [
        _route("/", pages.now),
        _route("/history", pages.history),
        _route("/runs/{run}", pages.run),
        _route("/sql", pages.sql, "GET", "POST"),
        _route("/feed", pages.feed),
        _route("/enter", pages.enter, "GET", "POST"),
        _route("/assets/{name}", pages.asset),
        _route("/runs/{run}/cancel", pages.cancel, "POST"),
        _route("/runs/{run}/answer", pages.answer, "POST"),
    ]
    handlers: Any = {SashizuError: pages.failed, 404: pages.absent, 405: pages.absent}
    handlers[Exception] = pages.broke
    return Guarded(Starlette(routes=routes, exception_handlers=handlers), access)


def _route(path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    return Route(path, answer, methods=methods or ("GET",))


def _run_id(request: Request) -> str:
    run_id = str(request.path_params["run"])
    if not _ID.fullmatch(run_id):
        raise UsageError("that is no id of a run")
    return run_id


def _back(run_id: str, said: str) -> Response:
    return RedirectResponse(f"/runs/{run_id}?said={said}", 303)
