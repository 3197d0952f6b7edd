"""What a held program meets: one way out, an end with its parent, and nothing left in the tree."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream
from sashizu_core.errors import SandboxError
from sashizu_core.grants import NetRequest
from sashizu_core.sandboxing import Confinement, ProcessLimits
from sashizu_core.types import Decision

if sys.platform != "linux":
    pytest.skip("bubblewrap is for Linux", allow_module_level=True)

from sashizu_sandbox.bubblewrap.probe import probe_bubblewrap
from sashizu_sandbox.bubblewrap.sandbox import Bubblewrap, open_bubblewrap

pytestmark = pytest.mark.sandbox

ENOUGH_S = 30

ASK = """
import os, sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("no way", error)
"""

KILLED = """
import os, sys
from pathlib import Path
import anyio
from sashizu_core.sandboxing import Confinement
from sashizu_sandbox.bubblewrap.sandbox import open_bubblewrap

async def main():
    folder = Path(sys.argv[1])
    confinement = Confinement(
        folder,
        writable=(folder,),
        protected=(folder / ".mcp.json",),
        environment={"PATH": "/usr/bin:/bin"},
    )
    script = "exec 3>alive; trap '' HUP INT TERM; (setsid sleep 600 &) ; echo ready; sleep 600"
    async with (
        open_bubblewrap() as sandbox,
        sandbox.start(["/bin/sh", "-c", script], confinement) as process,
    ):
        print((await process.stdout.receive()).decode(), flush=True)
        await process.wait()

anyio.run(main)
"""


@pytest.fixture(autouse=True, scope="module")
def needs_a_sandbox() -> None:
    info = probe_bubblewrap()
    if info.kind != "enforced":
        pytest.skip(f"no sandbox can be had: {info.reason}; {info.remedy}")


@pytest.fixture
async def sandbox() -> AsyncIterator[Bubblewrap]:
    async with open_bubblewrap() as sandbox:
        yield sandbox


@pytest.fixture
def confinement(tmp_path: Path) -> Confinement:
    return Confinement(
        tmp_path,
        readable=(Path(sys.base_prefix),),
        writable=(tmp_path,),
        environment={"PATH": "/usr/bin:/bin"},
    )


def denying(asked: list[NetRequest]) -> Callable[[NetRequest], Awaitable[Decision]]:
    async def judge(request: NetRequest) -> Decision:
        asked.append(request)
        return Decision("deny", "not here")

    return judge


async def said_by(sandbox: Bubblewrap, argv: list[str], confinement: Confinement) -> str:
    with anyio.fail_after(ENOUGH_S):
        async with sandbox.start(argv, confinement) as process:
            return b"".join([data async for data in process.stdout]).decode()


async def test_with_a_judge_every_connection_is_asked_about(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    asked: list[NetRequest] = []
    held = replace(confinement, judge=denying(asked))
    program = os.path.realpath(sys.executable)
    argv = [program, "-I", "-c", ASK, "http://example.com/page?x=1"]
    said = await said_by(sandbox, argv, held)
    assert said.startswith("403")
    assert "not here" in said
    assert asked == [NetRequest("http", "example.com", 80, "/page")]


async def test_without_a_judge_nothing_listens_and_no_proxy_is_named(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    script = "env | grep -ci proxy; grep -c ' 0A ' /proc/net/tcp"
    assert await said_by(sandbox, ["/bin/sh", "-c", script], confinement) == "0\n0\n"


async def test_each_program_gets_a_token_of_its_own(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    held = replace(confinement, judge=denying([]))
    argv = ["/bin/sh", "-c", "echo $HTTPS_PROXY; echo $https_proxy"]
    (first, second) = [await said_by(sandbox, argv, held) for _ in range(2)]
    assert first != second
    assert len(set(first.split())) == 1
    assert first.startswith("http://sashizu:")


async def test_a_token_of_another_program_opens_nothing(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    asked: list[NetRequest] = []
    held = replace(confinement, judge=denying(asked))
    script = f"import os; os.environ['http_proxy'] = 'http://a:b@127.0.0.1:3128'\n{ASK}"
    argv = [os.path.realpath(sys.executable), "-I", "-c", script, "http://example.com/"]
    assert (await said_by(sandbox, argv, held)).startswith("407")
    assert asked == []


async def test_a_connection_past_the_proxy_has_no_route(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    held = replace(confinement, judge=denying([]))
    script = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    argv = [os.path.realpath(sys.executable), "-I", "-c", script]
    async with sandbox.start(argv, held) as process:
        said = b"".join([data async for data in process.stderr]).decode()
    assert "Network is unreachable" in said


@pytest.mark.parametrize("victim", ["parent", "launcher"])
def test_when_who_started_it_is_killed_everything_ends(tmp_path: Path, victim: str) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    try:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "ready\n"
            task = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
            (launcher,) = map(int, task.read_text().split())
            os.kill(parent.pid if victim == "parent" else launcher, signal.SIGKILL)
            # The other end of the pipe is closed when the last of them is dead.
            waiting = select.poll()
            waiting.register(reader, 0)
            assert waiting.poll(5000), "something lives 5 s later"
            parent.kill()
    finally:
        os.close(reader)


async def test_what_a_killed_launcher_left_is_taken_over_and_removed(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    held = replace(confinement, protected=(tmp_path / ".mcp.json",))
    (tmp_path / ".mcp.json").mkdir(0o755)
    (tmp_path / ".mcp.json").chmod(0o1555)
    await said_by(sandbox, ["/bin/true"], held)
    assert not (tmp_path / ".mcp.json").exists()


async def test_an_empty_folder_of_somebody_else_stays(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    (tmp_path / ".vscode").mkdir()
    held = replace(confinement, protected=(tmp_path / ".vscode",))
    await said_by(sandbox, ["/bin/true"], held)
    assert (tmp_path / ".vscode").is_dir()


async def test_what_stands_in_for_a_path_stays_while_another_program_needs_it(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    held = replace(confinement, protected=(tmp_path / ".mcp.json",))
    async with (
        open_bubblewrap() as other,
        other.start(["/bin/sh", "-c", "read x; echo > .mcp.json"], held, stdin=True) as process,
    ):
        await said_by(sandbox, ["/bin/true"], held)
        assert (tmp_path / ".mcp.json").is_dir()
        assert process.stdin is not None
        await process.stdin.send(b"now\n")
        assert await process.wait()
    assert not (tmp_path / ".mcp.json").exists()


async def test_limits_hold_for_all_processes_of_a_program_together(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    held = replace(confinement, limits=ProcessLimits(processes=8))
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; echo all"
    assert await said_by(sandbox, ["/bin/sh", "-c", script], held) == ""


async def test_new_files_have_the_mode_that_they_would_have_without(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    (tmp_path / "ours").touch()
    await said_by(sandbox, ["/bin/sh", "-c", "touch theirs"], confinement)
    assert (tmp_path / "theirs").stat().st_mode == (tmp_path / "ours").stat().st_mode


def _runs(word: str) -> bool:
    """Whether a process has the word among its arguments."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in file.read_bytes().split(b"\0"):
                return True
    return False


async def test_a_launcher_that_was_killed_is_started_again(
    sandbox: Bubblewrap, confinement: Confinement
) -> None:
    task = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(task.read_text().split())
    seconds = f"600.{os.getpid()}"
    async with sandbox.start(["/bin/sleep", seconds], confinement) as process:
        (launcher,) = set(task.read_text().split()) - before
        os.kill(int(launcher), signal.SIGKILL)
        with anyio.fail_after(ENOUGH_S):
            assert await process.wait() == -signal.SIGKILL
    os.waitid(os.P_PID, int(launcher), os.WEXITED | os.WNOWAIT)
    with anyio.fail_after(ENOUGH_S):
        while _runs(seconds):
            await anyio.sleep(0.01)
    assert await said_by(sandbox, ["/bin/echo", "again"], confinement) == "again\n"


async def test_a_link_that_would_have_to_be_protected_starts_nothing(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    (tmp_path / ".mcp.json").symlink_to("other")
    held = replace(confinement, protected=(tmp_path / ".mcp.json",))
    with pytest.raises(SandboxError, match="symbolic link"):
        async with sandbox.start(["/bin/true"], held):
            pytest.fail("something was started")


async def test_a_folder_that_was_replaced_is_shown_as_it_is_now(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    place = tmp_path.resolve() / "place"
    held = replace(confinement, cwd=place, writable=(place,))
    for number in ("1", "2"):
        place.mkdir()
        (place / number).touch()
        assert await said_by(sandbox, ["/bin/ls"], held) == f"{number}\n"
        place.rename(place.with_name(f"old-{number}"))
    place.write_text("a file")
    said = await said_by(sandbox, ["/bin/cat", str(place)], replace(held, cwd=Path("/")))
    assert said == "a file"


async def test_ports_of_its_own_network_are_answered_from_outside(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def answers(stream: ByteStream) -> None:
        asked.append(await stream.receive())
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def breaks(stream: ByteStream) -> None:
        raise OSError("broken")

    confinement = Confinement(
        tmp_path,
        readable=(tmp_path,),
        environment={"PATH": "/usr/bin:/bin"},
        served={8797: answers, 8798: breaks},
    )
    script = "".join(
        f"import urllib.request as u\ntry: print(u.urlopen('http://127.0.0.1:{port}/').status)\n"
        "except OSError as error: print('no')\n"
        for port in (8798, 8797, 8799)
    )

    async with (
        open_bubblewrap() as sandbox,
        sandbox.start(["/usr/bin/python3", "-I", "-S", "-c", script], confinement) as process,
    ):
        out = b"".join([piece async for piece in process.stdout])

    assert out.split() == [b"no", b"200", b"no"]
    assert asked[0].startswith(b"GET / HTTP/1.1")
