"""The protocol's own client, in both eras, over real processes and real sockets."""

import json
import os
import subprocess
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

ERAS = ["legacy", "auto", "2026-07-28"]
ASKING = """
[policy.ceiling.tools.fs]
read = true
write = ["."]

[[policy.rule]]
verdict = "ask"
touches = "write"
pattern = "new.txt"
"""


# The library's client leaves generators of its HTTP client to the collector, which trio warns of.
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture(autouse=True)
def _warm_servers(monkeypatch, warm):
    """The library's own way to start a server costs a fork."""
    monkeypatch.setattr(anyio, "open_process", warm.open_process)


@asynccontextmanager
async def over_stdio(place, mode, *options, **callbacks):
    command, *words = place.words(*options)
    parameters = StdioServerParameters(
        command=command, args=words, env=place.env, cwd=str(place.work)
    )
    async with Client(stdio_client(parameters), mode=mode, **callbacks) as client:
        yield client


PATCH = "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+made\n"
ARGUMENTS = {"delegate": {"agent": "alpha"}, "apply_patch": {"patch": PATCH}}


class HttpServer:
    """A server process on a free port. `token` and `url` are what it told."""

    def __init__(self, place, *options):
        self.process = place.start(
            place.words("--http=127.0.0.1:0", *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=place.env,
            cwd=place.work,
            text=True,
        )
        self.url = self._said("listening on ")
        self.host = urlsplit(self.url).netloc
        self.token = "" if "--no-token" in options else self._said("token ")

    def _said(self, before):
        line = self.process.stderr.readline()
        assert before in line, line
        return line.split(before, 1)[1].strip()

    def close(self):
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()


@pytest.fixture(scope="module")
def http_server(quiet_place):
    server = HttpServer(quiet_place)
    yield server
    assert server.close() == 0


@asynccontextmanager
async def over_http(server, mode, **callbacks):
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(server.url, http_client=http)
        async with Client(transport, mode=mode, **callbacks) as client:
            yield client


async def used(client):
    """Uses what a client uses; the library checks structured content by the output schemas."""
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert {"delegate", "read_file"} <= names
    read = await client.call_tool("read_file", {"path": "a.py"})
    assert "x = 1" in read.structured_content["text"]
    told = []

    async def on_progress(progress, total, message):
        told.append((progress, message))

    ran = await client.call_tool(
        "delegate", {"agent": "code-reviewer", "scope": ["a.py"]}, progress_callback=on_progress
    )
    assert ran.structured_content["status"] == "ok"
    assert told
    uri = f"run://{ran.structured_content['run_id']}"
    (content,) = (await client.read_resource(uri)).contents
    assert json.loads(content.text)["status"] == "ok"
    assert {prompt.name for prompt in (await client.list_prompts()).prompts} >= {"review"}
    assert len((await client.list_resource_templates()).resource_templates) == 3
    wrong = await client.call_tool("read_file", {"path": "nowhere"})
    assert wrong.is_error


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_on_stdio_can_use_everything(quiet_place, mode):
    with anyio.fail_after(60):
        async with over_stdio(quiet_place, mode) as client:
            await used(client)


@on_asyncio
@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_on_http_can_use_everything(http_server, mode):
    with anyio.fail_after(60):
        async with over_http(http_server, mode) as client:
            await used(client)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("tool", ["delegate", "apply_patch"])
async def test_a_client_on_stdio_is_asked(place, mode, tool):
    async def allow(context, params):
        assert "new.txt" in params.message
        return types.ElicitResult(action="accept", content={"decision": "once"})

    options = ("--model=fake/writer", place.policy(ASKING))
    with anyio.fail_after(60):
        async with over_stdio(place, mode, *options, elicitation_callback=allow) as client:
            await client.call_tool(tool, ARGUMENTS[tool])
    assert (place.work / "new.txt").exists()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_that_declines_has_not_allowed(place, mode):
    async def decline(context, params):
        return types.ElicitResult(action="decline")

    with anyio.fail_after(60):
        options = (place.policy(ASKING),)
        async with over_stdio(place, mode, *options, elicitation_callback=decline) as client:
            answer = await client.call_tool("apply_patch", ARGUMENTS["apply_patch"])
    assert answer.is_error
    assert not (place.work / "new.txt").exists()


async def test_a_state_counts_once_and_only_for_its_own_call(place):
    with anyio.fail_after(60):
        options = (place.policy(ASKING),)

        async def never(context, params):
            raise AssertionError

        async with over_stdio(place, "2026-07-28", *options, elicitation_callback=never) as client:
            asked = await client.session.call_tool(
                "apply_patch", ARGUMENTS["apply_patch"], allow_input_required=True
            )
            (key,) = asked.input_requests
            said = {key: types.ElicitResult(action="accept", content={"decision": "once"})}
            for tool, arguments in (
                ("read_file", {"path": "a.py"}),
                ("apply_patch", ARGUMENTS["apply_patch"]),
            ):
                answer = await client.session.call_tool(
                    tool, arguments, input_responses=said, request_state=asked.request_state
                )
                assert answer.is_error
    assert not (place.work / "new.txt").exists()


@on_asyncio
@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_on_http_is_asked(place, mode):
    async def allow(context, params):
        return types.ElicitResult(action="accept", content={"decision": "once"})

    server = HttpServer(place, "--model=fake/writer", place.policy(ASKING))
    try:
        with anyio.fail_after(60):
            async with over_http(server, mode, elicitation_callback=allow) as client:
                await client.call_tool("delegate", {"agent": "alpha"})
    finally:
        server.close()
    assert (place.work / "new.txt").exists()


@on_asyncio
async def test_cancelling_on_http_reaches_the_model(place):
    server = HttpServer(place, "--model=fake/slow")
    try:
        with anyio.fail_after(60):
            async with over_http(server, "legacy") as client:
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as group:
                        group.start_soon(client.call_tool, "delegate", {"agent": "alpha"})
                        assert await anyio.to_thread.run_sync(place.appears, "asked", 30)
                        scope.cancel()
                assert await anyio.to_thread.run_sync(place.appears, "cancelled", 1)
    finally:
        server.close()


# --- who is let in --------------------------------------------------------------------------------

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
JSON = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


def post(server, **headers):
    with httpx2.Client(timeout=20) as client:
        given = {**JSON, "Authorization": f"Bearer {server.token}", **headers}
        kept = {name: value for name, value in given.items() if value is not None}
        handshake = {
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        }
        return client.post(server.url, json=handshake, headers=kept)


def test_who_has_the_token_is_let_in(http_server):
    assert post(http_server).status_code == 200


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", "Basic {token}", "Bearer {token}x", "{token}"]
)
def test_who_has_not_the_token_is_kept_out(http_server, given):
    header = None if given is None else given.format(token=http_server.token)
    answer = post(http_server, Authorization=header)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1:1"])
def test_a_page_that_points_its_name_here_is_kept_out(http_server, host):
    assert post(http_server, Host=host).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_somebody_else_is_kept_out(http_server, origin):
    assert post(http_server, Origin=origin).status_code == 403


def test_a_page_of_the_server_itself_is_let_in(http_server):
    assert post(http_server, Origin=f"http://{http_server.host}").status_code == 200


def test_a_token_is_kept_for_its_owner_and_used_again(place):
    file = place.folder / "token"
    tokens = []
    for _ in range(2):
        server = HttpServer(place, f"--token-file={file}")
        try:
            assert server.token == f"is in {file}"
            tokens.append(server.token)
            server.token = file.read_text().strip()
            assert post(server).status_code == 200
        finally:
            server.close()
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--http=0.0.0.0:0", "--no-token"], "--no-token is for loopback only"),
        (["--http=nonsense"], "--http takes HOST:PORT"),
        (["--http=127.0.0.1:99999"], "--http takes HOST:PORT"),
        (["--http=192.0.2.1:80"], "cannot listen"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused(place, options, told):
    server = place.server(*options)
    assert server.process.wait(30) == 2
    assert told in server.process.stderr.read().decode()


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_token_that_others_can_read_is_refused(place):
    file = place.folder / "token"
    file.write_text("x" * 40)
    file.chmod(0o644)
    server = place.server("--http=127.0.0.1:0", f"--token-file={file}")
    assert server.process.wait(30) == 2
    assert "chmod 600" in server.process.stderr.read().decode()
