"""First requests are answered before anything is imported, and as the whole program would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.home import state_home
from sashizu_mcp_server.startup.answers import FirstAnswers, reply
from sashizu_mcp_server.startup.jsontext import json_string, read_json
from sashizu_mcp_server.startup.lines import Lines
from sashizu_mcp_server.startup.options import read_options
from sashizu_mcp_server.startup.prepared import Prepared, kept_file

VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "1999-01-01"]
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}


@pytest.fixture(scope="module")
def starting():
    """Servers of these tests are new programs: how they start and end is what is looked at."""
    return subprocess.Popen


def handshake(version, request_id=0):
    params = {
        "protocolVersion": version,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": params}


def said(server, frames):
    """The lines that answer these requests, in order."""
    lines = []
    for frame in frames:
        server.send(frame)
        if "id" in frame:
            lines.append(server.line())
    return lines


@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_is_answered_early_byte_for_byte_as_late(quiet_place, version):
    frames = [
        handshake(version, 'a\u00e9"\n1'),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        {"jsonrpc": "2.0", "id": "two", "method": "ping"},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/list"},
    ]
    early, late = quiet_place.server(), quiet_place.server("--late")
    assert said(early, frames) == said(late, frames)
    assert (early.close(), late.close()) == (0, 0)


def test_the_newest_era_is_answered_early_byte_for_byte_as_late(quiet_place):
    frames = [
        {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": MODERN}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"_meta": MODERN}},
    ]
    early, late = quiet_place.server(), quiet_place.server("--late")
    assert said(early, frames) == said(late, frames)
    assert (early.close(), late.close()) == (0, 0)


def test_calls_and_whatever_else_comes_are_answered_as_late(quiet_place):
    call = {"jsonrpc": "2.0", "method": "tools/call"}
    requests = [
        {**call, "params": {"name": "read_file", "arguments": {"path": "a.py"}}},
        {**call, "params": {"name": "read_file", "arguments": {"path": "nowhere.py"}}},
        {**call, "params": {"name": "no_such_tool"}},
        {**call, "params": {"name": "run_status", "arguments": {"wrong": 1}}},
        {**call, "params": {"arguments": {}}},
        {"jsonrpc": "2.0", "method": "prompts/list"},
        {"jsonrpc": "2.0", "method": "no/such/method"},
        {"jsonrpc": "2.0", "method": "tools/list", "params": {"cursor": 7}},
        {"jsonrpc": "2.0", "method": "resources/read", "params": {"uri": "run://none"}},
    ]
    frames = [
        handshake("2025-06-18"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        *({**request, "id": number} for number, request in enumerate(requests, 1)),
    ]
    early, late = quiet_place.server(), quiet_place.server("--late")
    assert list(map(json.loads, said(early, frames))) == list(map(json.loads, said(late, frames)))


@pytest.mark.parametrize("able", [{}, {"elicitation": {"form": {}}}])
def test_calls_of_the_newest_era_are_answered_as_late(quiet_place, able):
    meta = {**MODERN, "io.modelcontextprotocol/clientCapabilities": able}
    params = {"name": "read_file", "arguments": {"path": "a.py"}, "_meta": meta}
    frames = [{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}]
    early, late = quiet_place.server(), quiet_place.server("--late")
    first, second = said(early, frames), said(late, frames)
    assert list(map(json.loads, first)) == list(map(json.loads, second))
    assert json.loads(first[0])["result"]["resultType"] == "complete"


def test_frames_that_came_in_one_piece_are_all_answered(quiet_place):
    server = quiet_place.server()
    frames = [
        handshake("2025-06-18"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 2, "method": "prompts/list"},
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
        {"jsonrpc": "2.0", "id": 4, "method": "resources/templates/list"},
    ]
    server.send("\n".join(map(json.dumps, frames)).encode())
    answers = {server.receive()["id"] for _ in range(5)}
    assert answers == {0, 1, 2, 3, 4}


def test_first_answers_need_no_import_of_ours_or_others(quiet_place):
    frames = [
        handshake("2025-06-18"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    ]
    words = quiet_place.words()
    words[1:1] = ["-X", "importtime"]
    ran = subprocess.run(
        words,
        input="\n".join(map(json.dumps, frames)) + "\n",
        env=quiet_place.env,
        cwd=quiet_place.work,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(ran.stdout.splitlines()) == 2
    imported = {line.rsplit("|", 1)[1].strip() for line in ran.stderr.splitlines() if "|" in line}
    heavy = {"json", "re", "typing", "pathlib", "anyio", "pydantic", "mcp", "sashizu_core"}
    # `-m` and `.pth` files of an environment may import some of these; the server's own start not
    assert not imported & (heavy - {"re", "typing", "pathlib"})


def test_a_new_agent_is_told_at_the_next_start(place):
    place.prepared()
    agents = place.folder / "config" / "sashizu" / "agents"
    (agents / "omega.yaml").write_text(
        (agents / "alpha.yaml").read_text().replace("alpha", "omega")
    )
    server = place.server()
    server.initialize()
    server.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert "omega" in json.dumps(server.receive())


def test_a_server_in_another_folder_that_brings_nothing_is_prepared(place):
    def kept_after_a_start_in(folder):
        words = place.words()
        words[1:1] = ["-P"]  # else where it starts is where Python looks for modules
        subprocess.run(words, env=place.env, cwd=folder, input=b"", check=True, timeout=60)
        return {file: file.stat().st_mtime_ns for file in (place.folder / "home/mcp").iterdir()}

    one, other = place.folder / "one", place.folder / "other"
    one.mkdir()
    other.mkdir()
    kept = kept_after_a_start_in(one)
    assert len(kept) == 1
    assert kept_after_a_start_in(other) == kept
    (other / "sashizu.toml").write_text("")
    assert kept_after_a_start_in(other).items() > kept.items()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_answers_are_made_though_the_client_kills_its_first_server(place):
    kept = place.folder / "home" / "mcp"
    with subprocess.Popen(
        place.words(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=place.env,
        cwd=place.work,
        start_new_session=True,
    ) as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        eventually(
            lambda: children.read_text() and os.getsid(int(children.read_text())) != server.pid
        )
        assert not [*kept.glob("*.json")]
        os.killpg(server.pid, signal.SIGKILL)
    eventually(lambda: [*kept.glob("*.json")])


def eventually(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_answers_that_others_could_have_written_are_not_used(place):
    place.prepared()
    (kept,) = (place.folder / "home" / "mcp").glob("*.json")
    kept.write_text(kept.read_text().replace("Delegate to an agent", "Something else"))
    kept.chmod(0o666)
    server = place.server()
    server.initialize()
    server.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert "Something else" not in json.dumps(server.receive())


def test_a_client_of_an_outdated_start_is_told_that_tools_changed(place):
    place.prepared()
    (kept,) = (place.folder / "home" / "mcp").glob("*.json")
    document = json.loads(kept.read_text())
    document["fingerprint"] = "of another start"
    kept.write_text(json.dumps(document))
    server = place.server()
    server.initialize()
    server.call(1, "budget_status")
    server.answer_to(1)
    while not server.notes:
        server.notes.append(server.receive())
    assert server.notes == [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]


# --- the parts ------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), inner
    ),
)  # fmt: skip


@given(VALUES, st.booleans())
def test_json_is_read_as_the_standard_library_does(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert read_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{} {}", b"NaN", b"[Infinity]", b"\xff", b'{"a":}', b"[" * 200_000]
)
def test_what_is_no_json_is_an_error(data):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the scanner's
        read_json(data)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_is_written_as_the_library_of_the_protocol_writes_it(text):
    from pydantic_core import to_json

    assert json_string(text).encode() == to_json(text)


def test_ids_keep_their_type():
    assert reply(7, "{}") == b'{"jsonrpc":"2.0","id":7,"result":{}}\n'
    assert reply("7", "{}") == b'{"jsonrpc":"2.0","id":"7","result":{}}\n'


PREPARED = Prepared(
    {"initialize": {"2025-06-18": "{}"}, "tools/list": {"2025-06-18": "{}"}}, "2025-06-18"
)


@pytest.mark.parametrize(
    "frame",
    [
        [],
        {"jsonrpc": "2.0", "id": True, "method": "ping"},
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
        {"jsonrpc": "1.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 1}},
        {"jsonrpc": "2.0", "id": 1, "method": "initialize"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ],
)
def test_what_is_in_doubt_is_left_to_the_whole_program(frame):
    assert FirstAnswers(PREPARED).answer(frame) is None


def test_a_second_handshake_is_left_to_the_whole_program():
    first = FirstAnswers(PREPARED)
    assert first.answer(handshake("2025-06-18"))
    assert first.answer(handshake("2025-06-18")) is None


@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b""))), st.binary())
def test_no_byte_is_lost_between_lines(lines, rest):
    import os

    rest = rest.replace(b"\n", b"")
    reading, writing = os.pipe()
    os.write(writing, b"".join(line + b"\n" for line in lines) + rest)
    os.close(writing)
    source = Lines(reading)
    assert [source.next(9.0) for _ in lines] == lines
    assert source.next(9.0) is None
    assert source.rest == rest
    os.close(reading)


def test_options_are_read_as_the_real_parser_does():
    options = read_options(["--policy=p.toml", "--budget", "9", "--budget=1usd", "--no-token"])
    assert (options.policy, options.budget, options.token) == ("p.toml", ["9", "1usd"], False)


@pytest.mark.parametrize("words", [["--help"], ["--policy"], ["--bogus"], ["x"], ["--late=1"]])
def test_other_words_are_for_the_real_parser(words):
    assert read_options(words) is None


def test_answers_are_kept_in_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SASHIZU_HOME", raising=False)
    for states in ("", str(tmp_path)):
        monkeypatch.setenv("XDG_STATE_HOME", states)
        assert kept_file(read_options([])).startswith(f"{state_home()}/mcp/")
