"""What every sandbox has to do, as tests to inherit.

```python
class TestSandbox(SandboxContract):
    @pytest.fixture
    def spec(self) -> SandboxSpec:
        return my_sandbox()
```
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteReceiveStream

from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, ProcessLimits, Sandbox, SandboxedProcess
from sashizu_core.specs import SandboxSpec
from sashizu_core.testing.contract import Contract

__all__ = ["SandboxContract"]

_ENOUGH_S = 30.0

_VARIABLES = {"PATH": "/usr/bin:/bin"}


@dataclass(frozen=True, slots=True)
class _Ended:
    status: int
    out: str
    err: str


@pytest.mark.anyio
class SandboxContract(Contract):
    """Inherit it, and override `spec`. It needs /bin/sh and the usual small programs of POSIX."""

    @pytest.fixture
    def spec(self) -> SandboxSpec:
        """The sandbox under test."""
        raise NotImplementedError("override the fixture `spec`")

    @pytest.fixture
    async def sandbox(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        async with spec.open() as sandbox:
            yield sandbox

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A workspace, beside something that is not granted."""
        tmp_path = tmp_path.resolve()
        (tmp_path / "secret").write_text("secret", encoding="utf-8")
        (tmp_path / "given").mkdir()
        (tmp_path / "given/text").write_text("given", encoding="utf-8")
        workspace = tmp_path / "workspace"
        (workspace / "kept").mkdir(parents=True)
        (workspace / "kept/file").write_text("kept", encoding="utf-8")
        return workspace

    @pytest.fixture
    def confinement(self, folder: Path) -> Confinement:
        """Everything in the workspace may be written, and one folder beside it be read."""
        return Confinement(
            folder,
            readable=(folder.with_name("given"),),
            writable=(folder,),
            environment=_VARIABLES,
        )

    # --- what it says of itself -------------------------------------------------------------------

    async def test_its_probe_and_its_info_agree(self, spec: SandboxSpec, sandbox: Sandbox) -> None:
        probed = spec.probe()
        assert (probed.name, probed.kind) == (spec.name, sandbox.info.kind)
        assert probed.kind != "none"
        assert probed.kind == "enforced" or probed.reason

    # --- a program and what it says ---------------------------------------------------------------

    async def test_a_program_is_heard_and_its_status_is_told(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        ended = await _run(sandbox, confinement, "echo out; echo err >&2; exit 7")
        assert (ended.status, ended.out, ended.err) == (7, "out\n", "err\n")

    async def test_arguments_arrive_as_they_were_given(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        words = ["a b", "", "*", "$HOME", "'\"\n\\", "-x", "é\udcff"]
        argv = ["/bin/sh", "-c", 'printf "%s\\0" "$@"', "sh", *words]
        async with _started(sandbox, confinement, argv) as process:
            out = b"".join([data async for data in process.stdout])
        assert out.decode("utf-8", "surrogateescape").split("\0")[:-1] == words

    async def test_a_program_that_a_signal_ended_has_minus_its_number(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        ended = await _run(sandbox, confinement, "kill -TERM $$")
        assert ended.status == -signal.SIGTERM

    async def test_much_output_on_both_streams_is_not_lost(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
        ended = await _run(sandbox, confinement, script)
        assert (ended.status, len(ended.out), len(ended.err)) == (0, 300000, 300000)

    async def test_what_is_written_to_it_arrives(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        async with _started(sandbox, confinement, ["/bin/sh", "-c", "cat"], stdin=True) as process:
            assert process.stdin is not None
            await process.stdin.send(b"one\n")
            assert await process.stdout.receive() == b"one\n"
            await process.stdin.aclose()
            assert [data async for data in process.stdout] == []
            assert await process.wait() == 0

    async def test_without_stdin_there_is_nothing_to_read(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        async with _started(sandbox, confinement, ["/bin/sh", "-c", "cat"]) as process:
            assert process.stdin is None
            assert await process.wait() == 0

    async def test_writing_to_a_program_that_has_ended_is_an_error_and_nothing_worse(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        async with _started(sandbox, confinement, ["/bin/sh", "-c", ":"], stdin=True) as process:
            assert process.stdin is not None
            await process.wait()
            with pytest.raises(anyio.BrokenResourceError):
                await process.stdin.send(b"x" * 200_000)

    async def test_its_environment_is_what_was_given(
        self, sandbox: Sandbox, confinement: Confinement, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("A_SECRET", "secret")
        given = {**_VARIABLES, "NAME": "a b\nc", "LD_PRELOAD_NOT": "x"}
        ended = await _run(sandbox, replace(confinement, environment=given), "env -0")
        seen = dict(line.split("=", 1) for line in ended.out.split("\0") if line)
        assert seen.items() >= given.items()
        assert set(seen) - set(given) <= {"PWD", "OLDPWD", "SHLVL", "_"}

    async def test_it_starts_in_its_folder(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        ended = await _run(sandbox, replace(confinement, cwd=folder / "kept"), "pwd -P")
        assert ended.out == f"{folder}/kept\n"

    @pytest.mark.parametrize("argv", [["/bin/no-such-program"], ["sh"], ["/etc"], []])
    async def test_what_cannot_be_started_is_an_error(
        self, sandbox: Sandbox, confinement: Confinement, argv: list[str]
    ) -> None:
        with pytest.raises(SandboxError):
            async with sandbox.start(argv, confinement):
                pytest.fail("something was started")

    async def test_a_folder_that_is_not_there_is_an_error(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        with pytest.raises(SandboxError):
            async with sandbox.start(
                ["/bin/sh", "-c", ":"], replace(confinement, cwd=folder / "absent")
            ):
                pytest.fail("something was started")

    # --- files ------------------------------------------------------------------------------------

    async def test_what_was_granted_can_be_read_and_written(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        ended = await _run(
            sandbox, confinement, "cat ../given/text; echo new > made; cat kept/file"
        )
        assert (ended.status, ended.out) == (0, "givenkept")
        made = folder / "made"
        assert made.read_text(encoding="utf-8") == "new\n"
        assert _owner(made) == _owner(folder)

    async def test_what_was_not_granted_cannot_be_read(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        ended = await _run(sandbox, confinement, "cat ../secret")
        assert (bool(ended.status), ended.out) == (True, "")

    async def test_what_may_be_read_cannot_be_written(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        await _run(
            sandbox, confinement, "echo x > ../given/text; echo x > ../given/new; rm -rf ../given"
        )
        given = folder.with_name("given")
        assert [path.name for path in given.iterdir()] == ["text"]
        assert (given / "text").read_text(encoding="utf-8") == "given"

    @pytest.mark.parametrize(
        "attempt",
        [
            "echo x > kept/file",
            "rm kept/file",
            "rm -rf kept",
            "mv kept other; mkdir kept; echo x > kept/file",
            "echo x > other; mv other kept/file",
            "ln -f other kept/file",
            "chmod 777 kept/file; echo x > kept/file",
        ],
    )
    async def test_what_is_protected_stays_as_it_is(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path, attempt: str
    ) -> None:
        held = replace(confinement, protected=(folder / "kept/file",))
        await _run(sandbox, held, attempt)
        assert (folder / "kept/file").read_text(encoding="utf-8") == "kept"

    @pytest.mark.parametrize("path", ["absent", "kept/absent", "absent/deep/down"])
    async def test_what_is_protected_cannot_be_made_either(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path, path: str
    ) -> None:
        held = replace(confinement, protected=(folder / path,))
        script = f"rmdir {path}; mkdir -p $(dirname {path}); echo x > {path}; echo x > {path}/in"
        await _run(sandbox, held, script)
        assert _inventory(folder) == ["kept", "kept/file"], "something was made, or was left"

    @pytest.mark.parametrize("path", ["kept", "kept/file"])
    async def test_what_is_hidden_cannot_be_read(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path, path: str
    ) -> None:
        held = replace(confinement, hidden=(folder / path,))
        script = "cat kept/file; mv kept other; cat other/file; ln kept/file link; cat link"
        ended = await _run(sandbox, held, script)
        assert "kept" not in ended.out

    # --- the end ----------------------------------------------------------------------------------

    async def test_leaving_ends_everything_that_was_started(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        with _Watch(folder) as watch:
            async with _started(sandbox, confinement, _stubborn()) as process:
                await _says(process, b"ready")
                assert watch.somebody_lives()
            assert not watch.somebody_lives()

    async def test_cancelling_ends_everything_that_was_started(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        with _Watch(folder) as watch:
            with anyio.CancelScope() as scope:
                async with _started(sandbox, confinement, _stubborn()) as process:
                    await _says(process, b"ready")
                    scope.cancel()
                    await process.wait()
            assert scope.cancelled_caught
            assert not watch.somebody_lives()

    async def test_killing_ends_everything_that_was_started(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        with _Watch(folder) as watch:
            async with _started(sandbox, confinement, _stubborn()) as process:
                await _says(process, b"ready")
                process.kill()
                assert await process.wait() == -signal.SIGKILL
                assert not watch.somebody_lives()
                process.kill()
                assert await process.wait() == -signal.SIGKILL

    async def test_what_a_program_leaves_behind_ends_with_it(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        with _Watch(folder) as watch:
            ended = await _run(sandbox, confinement, "(trap '' HUP TERM; exec sleep 600 > alive) &")
            assert ended.status == 0
            assert not watch.somebody_lives()

    async def test_many_can_run_at_once(self, sandbox: Sandbox, confinement: Confinement) -> None:
        statuses: dict[int, int] = {}

        async def run(number: int) -> None:
            statuses[number] = (await _run(sandbox, confinement, f"exit {number}")).status

        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(run, number)
        assert statuses == {number: number for number in range(12)}

    # --- limits -----------------------------------------------------------------------------------

    async def test_a_file_does_not_grow_beyond_its_limit(
        self, sandbox: Sandbox, confinement: Confinement, folder: Path
    ) -> None:
        held = replace(confinement, limits=ProcessLimits(file_bytes=1_000_000))
        ended = await _run(sandbox, held, "head -c 3000000 /dev/zero > large")
        assert ended.status
        assert (folder / "large").stat().st_size <= 1_000_000

    async def test_it_computes_no_longer_than_its_limit(
        self, sandbox: Sandbox, confinement: Confinement
    ) -> None:
        held = replace(confinement, limits=ProcessLimits(cpu_s=1))
        ended = await _run(sandbox, held, "while :; do :; done")
        assert ended.status < 0


class _Watch:
    """Tells whether anybody still holds the other end of a pipe that a program opened."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "alive"

    def __enter__(self) -> _Watch:
        os.mkfifo(self._path)
        self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def somebody_lives(self) -> bool:
        try:
            return os.read(self._fd, 1) != b""
        except BlockingIOError:
            return True


def _owner(path: Path) -> int:
    return path.stat().st_uid


def _inventory(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _stubborn() -> list[str]:
    """A program whose child ignores what can be ignored, in a session of its own where it can."""
    script = (
        "trap '' HUP INT TERM QUIT; exec 3>alive; "
        "(setsid sleep 600 2>/dev/null || sleep 600) & sleep 600 & echo ready; wait"
    )
    return ["/bin/sh", "-c", script]


@asynccontextmanager
async def _started(
    sandbox: Sandbox, confinement: Confinement, argv: list[str], *, stdin: bool = False
) -> AsyncIterator[SandboxedProcess]:
    with anyio.fail_after(_ENOUGH_S):
        async with sandbox.start(argv, confinement, stdin=stdin) as process:
            yield process


async def _says(process: SandboxedProcess, word: bytes) -> None:
    said = b""
    while word not in said:
        said += await process.stdout.receive()


async def _run(sandbox: Sandbox, confinement: Confinement, script: str) -> _Ended:
    """Run a script of the shell to its end, and listen to all that it says."""
    out: list[bytes] = []
    err: list[bytes] = []
    async with _started(sandbox, confinement, ["/bin/sh", "-c", script]) as process:

        async def listen(stream: ByteReceiveStream, said: list[bytes]) -> None:
            said.extend([data async for data in stream])

        async with anyio.create_task_group() as group:
            group.start_soon(listen, process.stdout, out)
            group.start_soon(listen, process.stderr, err)
            status = await process.wait()
    return _Ended(status, *(b"".join(said).decode("utf-8", "replace") for said in (out, err)))
