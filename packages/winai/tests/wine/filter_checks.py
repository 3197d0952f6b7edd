"""Our filter of MCP messages, asked as Windows would ask it, through COM."""

import ctypes
import uuid

import pytest
from calling import POINTER, Caller, called, created
from com import Component, string
from sashizu_winai._winrt import PyWinRtBackend
from sashizu_winai.filtering.verdicts import Parties, Verdict

CLASS = uuid.UUID("0b7d1f52-93f4-4c0e-8f7e-3f0c1b8a6d21")
MCP = "Windows.AI.Agents.Mcp"
FILTER = f"{MCP}.IMcpMessageFilterExperimental2"
TO_SERVER, TO_CLIENT = 0, 1


class Response(Component):
    """What a filter answers into. `older` has the interface of the build before."""

    of = f"{MCP}.McpMessageFilterResponse"

    def __init__(self, *, older=False):
        name = "Experimental" if older else "Experimental2"
        base = f"{MCP}.IMcpMessageFilterResponse"
        super().__init__(interfaces=[base, base + name])
        self.said = []
        self.is_allowed, self.message_if_not_allowed = None, ""

    def allow(self):
        self.said.append("allowed")

    def reject(self, reason):
        self.said.append(reason)


class Judge:
    """Lets requests pass which do not name a secret."""

    def __init__(self):
        self.parties, self.seen = [], []

    async def connection(self, parties):
        self.parties.append(parties)
        return None if parties.server_id == "unknown" else self

    async def judge(self, message, direction):
        self.seen.append((message, direction))
        if "crash" in message:
            raise ValueError(message)
        return Verdict("secret" not in message, "it names a secret: ä")


@pytest.fixture
async def judge(windows):
    backend, judge = PyWinRtBackend(), Judge()
    async with backend.filtered(judge, CLASS):
        yield judge
    await backend.aclose()


def begun(server_id):
    pointer, passes = created(CLASS, FILTER), ctypes.c_ubyte(9)
    begin = called(pointer, 6, POINTER, ctypes.c_uint32, POINTER, ctypes.c_uint32, POINTER, POINTER)
    words = (string("Client.exe"), 11, string("Server.exe"), 12, string(server_id))
    assert begin(pointer, *words, ctypes.byref(passes)) == 0
    return pointer, passes.value


def judged(pointer, message, direction, response):
    judge = called(pointer, 7, POINTER, ctypes.c_int32, POINTER)
    given = response.face(f"{MCP}.IMcpMessageFilterResponse")
    return judge(pointer, string(message), direction, given)


async def test_a_connection_is_begun_with_its_parties(judge):
    _, passes = await Caller().do(begun, "files")
    assert passes == 1
    assert judge.parties == [Parties("Client.exe", 11, "Server.exe", 12, "files")]


async def test_a_message_passes_or_is_rejected_with_the_reason(judge):
    caller = Caller()
    pointer, _ = await caller.do(begun, "files")
    good, bad = Response(), Response()
    assert await caller.do(judged, pointer, "read größe", TO_SERVER, good) == 0
    assert await caller.do(judged, pointer, "a secret", TO_CLIENT, bad) == 0
    assert good.said == ["allowed"]
    assert bad.said == ["it names a secret: ä"]
    assert judge.seen == [("read größe", "client_to_server"), ("a secret", "server_to_client")]


async def test_an_older_build_is_told_by_its_own_interface(judge):
    caller = Caller()
    pointer, _ = await caller.do(begun, "files")
    good, bad = Response(older=True), Response(older=True)
    assert await caller.do(judged, pointer, "read", TO_SERVER, good) == 0
    assert await caller.do(judged, pointer, "a secret", TO_SERVER, bad) == 0
    assert (good.is_allowed, good.message_if_not_allowed) == (True, "")
    assert (bad.is_allowed, bad.message_if_not_allowed) == (False, "it names a secret: ä")


@pytest.mark.parametrize(
    ("server", "message", "direction"),
    [("unknown", "read", TO_SERVER), ("files", "crash", TO_SERVER), ("files", "read", 7)],
    ids=["a connection that is refused", "a judge that fails", "a direction of a later build"],
)
async def test_what_cannot_be_judged_does_not_pass(judge, server, message, direction):
    caller, response = Caller(), Response()
    pointer, passes = await caller.do(begun, server)
    assert passes == (server != "unknown")
    assert await caller.do(judged, pointer, message, direction, response) == 0
    assert len(response.said) == 1
    assert response.said != ["allowed"]
