"""The pages as a browser gets them, without one."""

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from sashizu_core.approvals import AnsweredElsewhere, Approvals
from sashizu_core.control import ControlServer, RunHandle, RunInfo
from sashizu_core.errors import UsageError
from sashizu_core.grants import PathRequest, Subject, ToolRequest
from sashizu_core.specs import RecordRows
from sashizu_core.types import Decision
from sashizu_dashboard.access import HEADERS, Access
from sashizu_dashboard.history import History
from sashizu_dashboard.site import LARGEST_FORM, site
from sashizu_dashboard.watching import Watch
from starlette.types import Message

RUN = "01900000-0000-7000-8000-000000000001"
AGENT = "01900000-0000-7000-8000-00000000000a"
HOSTILE = "</title><script>alert(1)</script>\u202e"
needs_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets"
)


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """Asks the pages of one dashboard, with its cookie."""

    def __init__(self, home: Path, query: Any = None) -> None:
        self.access = Access(8798)
        self.watch = Watch(home, clock=lambda: 9 * 10**9)
        self.app = site(self.watch, History(home, query), self.access)
        self.headers = {
            "host": "127.0.0.1:8798",
            "origin": "http://127.0.0.1:8798",
            "cookie": f"sashizu-8798={self.access.session}",
            "accept": "text/html",
        }
        self.also: list[tuple[bytes, bytes]] = []

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, b"", headers)

    async def post(self, path: str, form: Mapping[str, str], **headers: str) -> Answer:
        """A form of ours."""
        body = urlencode({"form": self.access.form, **form}).encode()
        return await self._ask("POST", path, body, headers)

    async def _ask(self, method: str, path: str, body: bytes, more: Mapping[str, str]) -> Answer:
        answer, (way, _, query) = Answer(), path.partition("?")
        headers = {**self.headers, **more}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": way,
            "raw_path": way.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "server": ("127.0.0.1", 8798),
            "headers": [
                *((n.encode(), value.encode()) for n, value in headers.items()),
                *self.also,
            ],
        }
        sent = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            await anyio.lowlevel.checkpoint()
            return next(sent, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            await anyio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                pairs = message["headers"]
                answer.headers = {name.decode(): value.decode() for name, value in pairs}
            answer.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return answer


@asynccontextmanager
async def at_work(client: Client, handle: RunHandle) -> AsyncIterator[None]:
    """A run with hostile names that the dashboard watches."""
    info = RunInfo(RUN, [HOSTILE], f"/w/{HOSTILE}", os.getpid(), 1.0)
    state = {"agent": HOSTILE, "agent_id": AGENT, "state": HOSTILE, "tokens": 3, "limit": 9}
    handle.snapshot = lambda: {"agent_states": [state]}
    control = ControlServer(handle, info, client.watch.home)
    async with anyio.create_task_group() as group:
        async with control.serve():
            group.start_soon(client.watch.follow)
            with anyio.fail_after(60):
                while not (run := client.watch.runs.get(RUN)) or not run.agents:
                    await anyio.sleep(0.01)
            yield
        with anyio.fail_after(60):
            while run.followed:
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def test_without_any_run_every_page_is_there(tmp_path):
    client = Client(tmp_path)

    pages = [await client.get(path) for path in ("/", "/history", "/sql")]

    assert [page.status for page in pages] == [200, 200, 200]
    assert "No run is at work" in pages[0].text
    assert "No run has left a trace" in pages[1].text


@pytest.mark.parametrize("path", ["/", "/enter", "/assets/live.js", "/nothing", "/sql"])
async def test_every_answer_has_the_headers(tmp_path, path):
    answer = await Client(tmp_path).get(path)

    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["/", f"/runs/{RUN}", "/history", "/sql", "/feed", "/nothing"])
async def test_who_has_no_cookie_is_asked_for_the_token(tmp_path, path):
    client = Client(tmp_path)

    answer = await client.get(path, cookie="")

    assert answer.status == 401
    assert 'action="/enter"' in answer.text
    assert not any(secret in answer.text for secret in (client.access.form, client.access.token))


async def test_the_token_is_exchanged_for_the_cookie(tmp_path):
    client = Client(tmp_path)

    by_address = await client.get(f"/enter?token={client.access.token}", cookie="")
    by_form = await client.post("/enter", {"token": f" {client.access.token} "}, cookie="")
    wrong = await client.get("/enter?token=x", cookie="")

    for answer in (by_address, by_form):
        assert answer.headers["set-cookie"] == client.access.set_cookie()
        assert client.access.token not in answer.text
    assert (wrong.status, wrong.headers.get("set-cookie")) == (401, None)


async def test_a_header_that_is_there_twice_is_refused(tmp_path):
    client = Client(tmp_path)

    client.also = [(b"host", b"evil.example")]

    assert (await client.get("/")).status == 400


@needs_sockets
async def test_hostile_names_of_a_run_at_work_are_shown_as_text(tmp_path):
    client = Client(tmp_path)

    async with at_work(client, RunHandle(RUN)):
        pages = [(await client.get(path)).text for path in ("/", f"/runs/{RUN}", "/history")]

    for page in pages:
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>" not in page
        assert "\u202e" not in page


@needs_sockets
async def test_a_run_is_shown_without_a_record_and_says_so(tmp_path):
    client = Client(tmp_path)

    async with at_work(client, RunHandle(RUN)):
        page = (await client.get(f"/runs/{RUN}")).text

    assert "sashizu-audit" in page
    assert 'data-feed="/feed?run=' in page


@needs_sockets
async def test_a_run_that_began_just_now_is_at_work_before_anybody_looked(tmp_path):
    client, info = Client(tmp_path), RunInfo(RUN, ["a"], "/w", os.getpid(), 1.0)

    async with ControlServer(RunHandle(RUN), info, tmp_path).serve():
        page = (await client.get(f"/runs/{RUN}")).text

    assert 'data-feed="/feed?run=' in page


@needs_sockets
async def test_a_run_is_asked_to_end_by_a_form_of_ours_alone(tmp_path):
    client, handle = Client(tmp_path), RunHandle(RUN)

    async with at_work(client, handle):
        foreign = await client.post(f"/runs/{RUN}/cancel", {"form": "x"})
        before = handle.reason
        done = await client.post(f"/runs/{RUN}/cancel", {})

    assert (foreign.status, before) == (400, "")
    assert done.status == 303
    assert done.headers["location"] == f"/runs/{RUN}?said=asked-to-end"
    assert handle.reason == "cancelled from outside"


@needs_sockets
async def test_one_agent_is_ended_and_one_that_is_gone_is_told(tmp_path):
    client, handle = Client(tmp_path), RunHandle(RUN)
    handle.waiting.add(AGENT)

    async with at_work(client, handle):
        one = await client.post(f"/runs/{RUN}/cancel", {"agent": AGENT})
        other = await client.post(f"/runs/{RUN}/cancel", {"agent": "gone"})

    assert handle.stops(AGENT)
    assert handle.reason == ""
    assert one.headers["location"].endswith("asked-to-end")
    assert other.headers["location"].endswith("not-at-work")


@needs_sockets
async def test_a_question_is_shown_in_full_and_answered(tmp_path):
    client, approvals = Client(tmp_path), Approvals(AnsweredElsewhere())
    calls = (ToolRequest("write_file"), PathRequest(HOSTILE, "write"))
    subject, ask = Subject(AGENT, "agent", ()), Decision("ask", HOSTILE, "ask write", "rule")

    async with at_work(client, RunHandle(RUN, approvals=approvals)):
        async with anyio.create_task_group() as group:
            decided = group.create_task(
                approvals.decide("write_file", calls, calls[1:], subject, ask)
            )
            with anyio.fail_after(60):
                while not client.watch.runs[RUN].questions:
                    await anyio.sleep(0.01)
            page = (await client.get("/")).text
            nonsense = await client.post(
                f"/runs/{RUN}/answer", {"question": "1", "answer": "always"}
            )
            done = await client.post(f"/runs/{RUN}/answer", {"question": "1", "answer": "once"})
        late = await client.post(f"/runs/{RUN}/answer", {"question": "1", "answer": "run"})

    assert page.count("&lt;script&gt;alert(1)") >= 3
    assert nonsense.status == 400
    assert done.headers["location"].endswith("said=answered")
    assert late.headers["location"].endswith("said=not-waiting")
    assert decided.return_value.allowed


async def test_only_what_we_have_to_say_is_said(tmp_path):
    client = Client(tmp_path)

    assert "It was asked to end." in (await client.get("/?said=asked-to-end")).text
    assert "hello" not in (await client.get("/?said=hello")).text


class Record:
    """Gives the same rows for every query, and keeps what it was asked."""

    def __init__(self, *rows: tuple[Any, ...], wrong: str = "") -> None:
        self.rows, self.wrong = rows, wrong
        self.asked: list[tuple[str, int, float]] = []

    def __call__(self, sql: str, limit: int, timeout_s: float) -> RecordRows:
        self.asked.append((sql, limit, timeout_s))
        if self.wrong:
            raise UsageError(self.wrong)
        return RecordRows((HOSTILE, "n"), self.rows, truncated=True)


async def test_sql_is_asked_once_and_its_rows_are_text(tmp_path):
    record = Record((HOSTILE, 4711), (None, b"\xff"))
    client = Client(tmp_path, record)

    page = (await client.post("/sql", {"sql": f"select '{HOSTILE}'"})).text

    assert record.asked == [(f"select '{HOSTILE}'", 1000, 30.0)]
    assert "<script>alert" not in page
    assert "2 rows; there are more" in page
    assert '<td class="n">4711</td>' in page
    assert '<span class="soft">null</span>' in page


async def test_what_sql_may_not_be_is_told_and_what_was_written_is_kept(tmp_path):
    client = Client(tmp_path, Record(wrong=f"only SELECT {HOSTILE}"))

    answer = await client.post("/sql", {"sql": "</textarea><b>drop"})

    assert answer.status == 400
    assert "only SELECT &lt;/title&gt;" in answer.text
    assert "&lt;/textarea&gt;&lt;b&gt;drop</textarea>" in answer.text


async def test_an_address_fills_the_box_and_asks_nothing(tmp_path):
    record = Record()

    page = (await Client(tmp_path, record).get("/sql?q=select+1")).text

    assert "select 1</textarea>" in page
    assert record.asked == []


async def test_without_a_record_sql_names_the_package(tmp_path):
    answer = await Client(tmp_path).post("/sql", {"sql": "select 1"})

    assert answer.status == 400
    assert "sashizu-audit" in answer.text


async def test_forms_that_are_none_are_refused(tmp_path):
    client = Client(tmp_path, Record())

    large = await client.post("/sql", {"sql": "x" * LARGEST_FORM})
    many = await client.post("/sql", {str(n): "x" for n in range(20)})
    nothing = await client.post("/sql", {"sql": "  "})

    assert [large.status, many.status, nothing.status] == [400, 400, 400]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/runs/{RUN}", 404),
        ("/runs/x' OR 1", 400),
        ("/nothing", 404),
        ("/assets/plugin.py", 404),
        ("/feed?run=x", 400),
        (f"/runs/{RUN}/cancel", 405),
        ("/history?from=x", 200),
        ("/history?from=99999999999", 200),
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(tmp_path, path, status):
    answer = await Client(tmp_path).get(path)

    assert answer.status == status
    assert "<h1>" in answer.text


async def test_a_bug_is_a_page_and_not_the_end(tmp_path, caplog):
    def broken(sql: str, limit: int, timeout_s: float) -> RecordRows:
        raise ZeroDivisionError("with a secret")

    client = Client(tmp_path, broken)
    with pytest.raises(ZeroDivisionError):  # the server gets it too, after the answer
        await client.post("/sql", {"sql": "select 1"})

    assert (await client.get("/")).status == 200
    assert "the page /sql failed" in caplog.text
