"""The tool `fetch`, end to end, against servers on this machine."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener
from sashizu_core.errors import ToolError
from sashizu_core.grants import Grants, NetRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.protocols import ToolContext
from sashizu_core.specs import ToolSpec
from sashizu_core.testing import ToolContract
from sashizu_core.types import Decision, StepKind, ToolResult
from sashizu_core.workspace import Workspace
from sashizu_sandbox.network.dialling import Dialler
from sashizu_sandbox.network.fetch import Fetch
from sashizu_sandbox.network.following import Caps
from sashizu_sandbox.plugin import register_tools

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
SOON_S = 5.0


class Site:
    """A server on 127.0.0.1 with answers by path; `asked` are the heads of its requests."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.port = 0

    async def serve(self, stream: ByteStream) -> None:
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            try:
                head = (await reader.receive_until(b"\r\n\r\n", 65536)).decode()
                self.asked.append(head)
                answer = self.answers[head.split(" ")[1]]
                if not answer:
                    await anyio.sleep_forever()
                await stream.send(answer.replace(b"PORT", str(self.port).encode()))
            except (anyio.IncompleteRead, anyio.BrokenResourceError):
                return


@asynccontextmanager
async def site(
    answers: Mapping[str, bytes] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    found = Site(answers or {"/": HELLO})
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    found.port = int(listener.extra(SocketAttribute.local_port))
    if tls is not None:
        listener = TLSListener(listener, ssl_context=tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, found.serve)
        yield found
        group.cancel_scope.cancel()


def page(body: bytes, kind: str = "text/html", *more: str) -> bytes:
    headers = "".join(f"{line}\r\n" for line in (f"Content-Type: {kind}", *more))
    return f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class Caller:
    """An agent with these grants that calls the tool as the runtime does."""

    def __init__(
        self,
        workspace: Workspace,
        *net: str,
        dialler: Dialler | None = None,
        caps: Caps | None = None,
    ) -> None:
        self._tool = Fetch(dialler, caps)
        self._subject = Subject("agent", "tester", (Grants(net=net),))
        self._context = ToolContext("agent", "tester", "run", workspace, judge=self.judge)
        self.judged: list[tuple[str, str]] = []

    async def judge(self, request: Any) -> Decision:
        decision = authorize((request,), self._subject)
        shown = f"{request.scheme}://{request.host}:{request.port}{request.path}"
        self.judged.append((shown, decision.verdict))
        return decision

    async def fetch(self, url: str, **more: Any) -> ToolResult:
        arguments = self._tool.parse(json.dumps({"url": url, **more}))
        for request in self._tool.requests(arguments, self._context):
            decision = await self.judge(request)
            if not decision.allowed:
                return ToolResult(f"not allowed: {decision.reason}", is_error=True)
        with anyio.fail_after(SOON_S):
            return await self._tool.run(arguments, self._context)


@pytest.fixture
def workspace(tmp_path: Path) -> Any:
    with Workspace.open(tmp_path) as found:
        yield found


class TestFetchKeepsTheContract(ToolContract):
    port = 0

    @property
    def call(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {"url": f"http://127.0.0.1:{self.port}/"}

    @pytest.fixture
    async def context(self, workspace: Workspace) -> AsyncIterator[ToolContext]:
        async with site() as found:
            type(self).port = found.port
            yield ToolContext("agent", "tester", "run", workspace)

    @pytest.fixture
    def spec(self) -> ToolSpec:
        specs = register_tools(None)  # type: ignore[arg-type]
        return next(spec for spec in specs if spec.name == "fetch")


async def test_its_grant_is_net_and_a_call_may_be_repeated() -> None:
    spec = next(s for s in register_tools(None) if s.name == "fetch")  # type: ignore[arg-type]
    assert spec.needs == ("net",)
    async with spec.open() as tool:
        assert tool.kind is StepKind.IDEMPOTENT


async def test_a_page_comes_with_its_status_url_type_and_title(workspace: Workspace) -> None:
    body = b"<title>T &amp; U</title><h1>Hi</h1><p>See <a href='/x'>this</a>.<script>no()</script>"
    async with site({"/a/?q=1": page(body, "text/html; charset=utf-8")}) as found:
        host = f"http://127.0.0.1:{found.port}"
        result = await Caller(workspace, host).fetch(f"{host}/b/../a/?q=1#part")
        assert not result.is_error
        assert result.content.split("\n") == [
            f"200 {host}/a/?q=1",
            f"text/html, {len(body)} bytes",
            "title: T & U",
            "",
            "# Hi",
            "",
            f"See [this]({host}/x).",
        ]
        (asked,) = found.asked
        assert asked.startswith(f"GET /a/?q=1 HTTP/1.1\r\nHost: 127.0.0.1:{found.port}\r\n")
        assert "Cookie" not in asked
        assert "Authorization" not in asked


async def test_what_is_not_granted_is_not_connected(workspace: Workspace) -> None:
    async with site() as found:
        caller = Caller(workspace, f"http://127.0.0.1:{found.port}/docs/*")
        result = await caller.fetch(f"http://127.0.0.1:{found.port}/")
        assert result.is_error
        assert "no grant allows it" in result.content
        assert found.asked == []


async def test_a_redirect_is_judged_before_it_is_followed(workspace: Workspace) -> None:
    answers = {"/a": redirect("/b?c"), "/b?c": redirect("x/../d", 308), "/d": HELLO}
    async with site(answers) as found:
        host = f"http://127.0.0.1:{found.port}"
        caller = Caller(workspace, f"{host}/a", f"{host}/b", f"{host}/d")
        result = await caller.fetch(f"{host}/a")
        assert result.content.split("\n")[:3] == [
            f"200 {host}/d",
            "text/plain, 6 bytes",
            f"redirected from {host}/a, 2 times",
        ]
        assert [url.partition(str(found.port))[2] for url, _ in caller.judged] == ["/a", "/b", "/d"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not allowed"),
        ("http://[fd00:ec2::254]/latest", "not allowed"),
        ("http://127.0.0.1:PORT/private", "not allowed"),
        ("http://[::ffff:127.0.0.1]:PORT/", "not allowed"),
        ("http://localhost:PORT/", "not allowed"),
        ("//evil.example/", "not allowed"),
        ("https://evil.example/", "not allowed"),
        ("http://2852039166/latest", "is refused"),
        ("http://user@127.0.0.1:PORT/", "is refused"),
        ("http://0x7f.1:PORT/", "is refused"),
        ("///evil.example/", "is refused"),
        ("/\\evil.example/", "is refused"),
        ("file:///etc/passwd", "is refused"),
        ("gopher://127.0.0.1:6379/_x", "is refused"),
        ("/open/..%2fprivate", "is refused"),
        ("/x\r\nLocation: /y", "several places"),
    ],
)
async def test_no_redirect_leads_to_what_is_not_granted(
    workspace: Workspace, location: str, reason: str
) -> None:
    async with site({"/open/": redirect(location), "/private": HELLO}) as found:
        host = f"http://127.0.0.1:{found.port}"
        caller = Caller(workspace, f"{host}/open/*", f"http://*:{found.port}/open/*")
        with pytest.raises(ToolError, match=reason):
            await caller.fetch(f"{host}/open/")
        assert len(found.asked) == 1


async def test_a_redirect_to_a_name_that_leads_to_the_metadata_service_is_refused(
    workspace: Workspace,
) -> None:
    async def lying(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254"]

    async with site({"/": redirect("http://evil.example/latest/meta-data/")}) as found:
        host = f"http://127.0.0.1:{found.port}"
        caller = Caller(workspace, host, "http://*", dialler=Dialler(resolve=lying))
        with pytest.raises(ToolError, match=r"169\.254\.169\.254 \(the metadata service"):
            await caller.fetch(host)
        assert caller.judged[-1] == ("http://169.254.169.254:80/latest/meta-data/", "deny")


async def test_redirects_have_an_end(workspace: Workspace) -> None:
    async with site({"/": redirect("/")}) as found:
        host = f"http://127.0.0.1:{found.port}"
        with pytest.raises(ToolError, match="redirects more than 5 times"):
            await Caller(workspace, host).fetch(host)
        assert len(found.asked) == 6


async def test_https_never_leads_to_http(workspace: Workspace) -> None:
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    async with site({"/": redirect("http://127.0.0.1:PORT/x"), "/y": HELLO}, server) as found:
        host = f"127.0.0.1:{found.port}"
        caller = Caller(
            workspace, f"https://{host}", f"http://{host}", dialler=Dialler(tls=lambda: client)
        )
        with pytest.raises(ToolError, match="which is not encrypted"):
            await caller.fetch(f"https://{host}/")
        assert (await caller.fetch(f"https://{host}/y")).content.endswith("\n\nhello")


async def test_without_a_judge_no_redirect_is_followed(workspace: Workspace) -> None:
    async with site({"/": redirect("/x"), "/x": HELLO}) as found:
        tool = Fetch()
        context = ToolContext("agent", "tester", "run", workspace)
        arguments = tool.parse(json.dumps({"url": f"http://127.0.0.1:{found.port}/"}))
        with pytest.raises(ToolError, match="nobody is there to decide"):
            await tool.run(arguments, context)


# --- size, time and type --------------------------------------------------------------------------


async def test_a_page_that_is_too_large_is_truncated_and_says_so(workspace: Workspace) -> None:
    body = b"a line of text\n" * 1000
    async with site({"/": page(body, "text/plain")}) as found:
        host = f"http://127.0.0.1:{found.port}"
        result = await Caller(workspace, host, caps=Caps(bytes_=150)).fetch(host)
        assert "text/plain, 150 bytes (truncated)" in result.content
        assert result.content.endswith("[cut: only the first 150 bytes of the page were read]")
        assert result.content.count("a line of text") == 10


async def test_a_packed_page_cannot_blow_up(workspace: Workspace) -> None:
    body = gzip.compress(b"0" * 50_000_000)
    async with site({"/": page(body, "text/plain", "Content-Encoding: gzip")}) as found:
        host = f"http://127.0.0.1:{found.port}"
        result = await Caller(workspace, host, caps=Caps(bytes_=1000)).fetch(host)
        assert "1,000 bytes (truncated)" in result.content


async def test_a_long_page_is_returned_from_any_line(workspace: Workspace) -> None:
    body = "".join(f"line {number} {'x' * 90}\n" for number in range(1, 2001)).encode()
    async with site({"/": page(body, "text/plain")}) as found:
        host = f"http://127.0.0.1:{found.port}"
        caller = Caller(workspace, host)
        first = await caller.fetch(host)
        assert "go on with first=" in first.content
        on = int(first.content.rpartition("first=")[2].rstrip("]"))
        then = await caller.fetch(host, first=on)
        assert f"\n\nline {on} " in then.content
        with pytest.raises(ToolError, match="there is no line 2001"):
            await caller.fetch(host, first=2001)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/pdf", b"%PDF-1.7"),
        ("image/png", b"\x89PNG"),
        ("application/octet-stream", b"text"),
        ("text/plain", b"a\0b"),
        ("", b"a\0b"),
    ],
)
async def test_what_is_no_text_is_refused_with_its_type(
    workspace: Workspace, kind: str, body: bytes
) -> None:
    async with site({"/": page(body, kind)}) as found:
        host = f"http://127.0.0.1:{found.port}"
        with pytest.raises(ToolError, match=f"is no text: .*{kind}"):
            await Caller(workspace, host).fetch(host)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
        ("text/plain; charset=windows-1252", b"\x93x\x94", "“x”"),
        ("text/plain; charset=shift_jis", "日本".encode("shift_jis"), "日本"),
        ("text/plain; charset=utf-7", b"+AGE-", "+AGE-"),
        ("text/plain; charset=idna", b"xn--a", "xn--a"),
        ("text/plain; charset=nonsense", b"x", "x"),
        ("text/plain", "é".encode("utf-16"), "é"),
        ("text/html", b"<meta charset=latin-1><p>caf\xe9", "café"),
        ("application/json", b'{"a": 1}', '{"a": 1}'),
        ("text/plain", b"\xff", "�"),
    ],
)
async def test_text_is_decoded_as_it_says(
    workspace: Workspace, kind: str, body: bytes, text: str
) -> None:
    async with site({"/": page(body, kind)}) as found:
        host = f"http://127.0.0.1:{found.port}"
        assert (await Caller(workspace, host).fetch(host)).content.endswith(f"\n\n{text}")


async def test_an_error_of_the_server_is_an_error_with_its_text(workspace: Workspace) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno such page"
    async with site({"/": answer}) as found:
        host = f"http://127.0.0.1:{found.port}"
        result = await Caller(workspace, host).fetch(host)
        assert result.is_error
        assert result.content.startswith(f"404 {host}/\n")
        assert result.content.endswith("\n\nno such page")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "took longer than 0.05 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "broke the connection off"),
        (b"nonsense\r\n\r\n", "what it sends is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "its headers"),
        (page(b"x", "text/plain", "Content-Encoding: br"), "packed"),
        (page(b"x", "text/plain", "Content-Encoding: gzip"), "cannot be unpacked"),
    ],
)
async def test_a_server_that_misbehaves_is_an_error(
    workspace: Workspace, answer: bytes, reason: str
) -> None:
    async with site({"/": answer}) as found:
        host = f"http://127.0.0.1:{found.port}"
        caps = Caps(exchange_s=SOON_S if answer else 0.05)
        with pytest.raises(ToolError, match=reason):
            await Caller(workspace, host, caps=caps).fetch(host)


def test_the_request_is_for_the_url_in_its_one_form(workspace: Workspace) -> None:
    tool = Fetch()
    context = ToolContext("agent", "tester", "run", workspace)
    arguments = tool.parse(json.dumps({"url": "HTTPS://Example.COM/a/../%7Eb?q#f"}))
    assert tool.requests(arguments, context) == [NetRequest("https", "example.com", 443, "/~b")]
    with pytest.raises(ToolError, match="user name"):
        tool.requests(tool.parse('{"url": "https://a@b"}'), context)
