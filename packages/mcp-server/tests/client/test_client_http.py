"""Servers on the network: the same doubts, and nobody else is reached than who was named."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from sashizu_core.settings import Settings
from sashizu_mcp_server.client import oauth
from sashizu_mcp_server.client.asking import ask
from sashizu_mcp_server.client.configured import ConfiguredServers
from sashizu_mcp_server.client.faults import (
    BadReply,
    NotStarted,
    ReplyTooLarge,
    ServerFault,
    ServerGone,
    ServerRefused,
    ServerSilent,
)
from sashizu_mcp_server.client.http import may_be_asked
from sashizu_mcp_server.client.oauth import Login, listening

# On trio the library leaves the generators of a response to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    "ignore:Async generator:ResourceWarning",
)


def table(address: str, how: str, **more: object) -> dict[str, object]:
    return {"url": f"{address}/{how}", "timeout": "2s", "start_timeout": "20s", **more}


FAULTS = {
    "error-page": (ServerRefused, "error response"),
    "no-json": (BadReply, "not understood"),
    "large-reply": (ReplyTooLarge, "more bytes than are taken: 8388608"),
    "large-event": (ServerFault, "the server 'bad'"),
    "bomb": (ServerFault, "compressed"),
    "other-kind": (ServerRefused, "Unexpected content type: text/plain"),
    "accepted": (ServerRefused, "202 Accepted"),
    "elsewhere": (ServerRefused, "not followed"),
    "silent": (ServerSilent, "did not answer within 2 s"),
    "hangs-up": (ServerGone, "hung up"),
    "empty-stream": (ServerGone, "without a response"),
    "wrong-id": (ServerSilent, "did not answer"),
}


@pytest.mark.parametrize("how", FAULTS)
async def test_a_call_over_http_that_goes_wrong_is_a_typed_error(run, address, how) -> None:
    kind, said = FAULTS[how]
    time = "2s" if kind is ServerSilent else "20s"
    async with run(
        bad=table(address, how, timeout=time), good=table(address, "good", timeout="20s")
    ) as one:
        tools = (await one.tools("bad/echo", "good/echo", sandbox=None, confinement=None)).tools
        with pytest.raises(kind, match=said) as caught:
            await one.call(tools["bad/echo"])
        assert str(caught.value).isprintable()
        assert (await one.call(tools["good/echo"])).content == "hello"
        with pytest.raises(ServerFault):
            await one.call(tools["bad/echo"])


@pytest.mark.parametrize("how", ["good", "stream"])
async def test_both_kinds_of_answer_over_http_are_understood(run, address, how) -> None:
    async with run(good=table(address, how, timeout="20s")) as one:
        tool = (await one.tools("good/echo")).tools["good/echo"]
        assert (await one.call(tool)).content == "hello"


@pytest.mark.parametrize(
    ("how", "said"),
    [("start-error-page", "error response"), ("start-silent", "did not start within 1 s")],
)
async def test_a_server_over_http_that_does_not_begin_is_absent(run, address, how, said) -> None:
    async with run(bad=table(address, how, start_timeout="1s")) as one:
        assert said in (await one.tools("bad/echo")).absent["bad/echo"]


async def test_an_address_where_nobody_is_makes_the_tools_absent(run) -> None:
    async with run(bad=table("http://127.0.0.1:9", "x"), odd={"url": "ftp://127.0.0.1/x"}) as one:
        served = await one.tools("bad/echo", "odd/echo")
        assert "could not be started" in served.absent["bad/echo"]
        assert "is no address of the Web" in served.absent["odd/echo"]


async def test_what_a_folder_names_is_not_reached_without_encryption(run) -> None:
    async with run() as one:
        served = await one.tools("far/echo", servers={"far": {"url": "http://example.org/mcp"}})
        assert "has to be https" in served.absent["far/echo"]


@pytest.mark.parametrize(
    ("asked", "server", "may"),
    [
        ("https://login.example.org/x", "https://example.org/mcp", True),
        ("http://example.org/x", "https://example.org/mcp", False),
        ("http://10.0.0.1:8080/x", "http://10.0.0.1:8080/mcp", True),
        ("http://10.0.0.1:9090/x", "http://10.0.0.1:8080/mcp", False),
        ("http://localhost:9090/x", "http://localhost:8080/mcp", True),
        ("http://127.0.0.1:9090/x", "http://localhost:8080/mcp", False),
        ("http://localhost:9090/x", "https://example.org/mcp", False),
    ],
)
def test_what_a_server_names_is_asked_without_encryption_on_this_machine_alone(
    asked, server, may
) -> None:
    assert may_be_asked(httpx2.URL(asked), httpx2.URL(server)) is may


async def test_headers_are_sent_and_variables_stand_in_for_secrets(
    run, address, monkeypatch
) -> None:
    monkeypatch.setenv("OUR_TOKEN", "the token")
    headers = {"Authorization": "Bearer ${OUR_TOKEN}"}
    async with run(
        with_it=table(address, "login", headers=headers), without=table(address, "login")
    ) as one:
        served = await one.tools("with_it/echo", "without/echo")
        assert list(served.tools) == ["with_it/echo"]
        assert "could not be started" in served.absent["without/echo"]


# --- logging in -----------------------------------------------------------------------------------


def configured(address: str, tmp_path: Path) -> tuple[Settings, ConfiguredServers]:
    settings = Settings({"mcp": {"far": table(address, "login", oauth=True)}})
    return settings, ConfiguredServers(settings, config=tmp_path)


async def test_a_server_that_wants_a_login_says_how_where_nobody_is_asked(
    address, tmp_path, workspace
) -> None:
    settings, servers = configured(address, tmp_path)
    with pytest.raises(NotStarted, match="wants a login: sashizu mcp login far"):
        await ask(settings, servers.own["far"], workspace.root)


async def test_a_person_logs_in_once_and_the_tokens_are_kept(
    address, tmp_path, workspace, home, monkeypatch
) -> None:
    with socket.socket() as free:  # the tests of other processes would take the usual one
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(oauth, "REDIRECT_PORT", port)
    settings, servers = configured(address, tmp_path)
    shown: list[str] = []
    person = Login(shown.append, browser=False)

    async def browse() -> None:
        while not shown:
            await anyio.sleep(0.01)
        state = parse_qs(urlsplit(shown[0]).query)["state"][0]
        async with httpx2.AsyncClient(trust_env=False) as browser:
            back = f"http://127.0.0.1:{port}/callback?code=the+code&state={state}"
            assert "logged in" in (await browser.get(back)).text

    async with listening(person), anyio.create_task_group() as group:
        group.start_soon(browse)
        asked = await ask(settings, servers.own["far"], workspace.root, login=person)
    assert list(asked.listing.tools) == ["echo"]
    (file,) = (home / "mcp/tokens").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = await ask(settings, servers.own["far"], workspace.root)
    assert list(again.listing.tools) == ["echo"]
