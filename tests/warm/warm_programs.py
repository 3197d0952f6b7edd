"""Programs that start from a process which has imported what they need.

`warm.start(words)` is `subprocess.Popen(words)`, and `warm.run(words)` is `subprocess.run(words)`:
the same options, streams, signals and ends. Where a server of `warm_server` can become what `words`
asks for, it does so for the price of a fork; anything else is started as it always is. Tests whose
subject is how a program starts should use `subprocess`. WARM_PROGRAMS=0 turns all of this off.
"""

from __future__ import annotations

import inspect
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

_open_process = anyio.open_process  # as it is where a test has put another in its place

SERVER = Path(__file__).with_name("warm_server.py")
OFF = "WARM_PROGRAMS"

SAME_OPTIONS = {
    *("stdin", "stdout", "stderr", "text", "encoding", "errors", "universal_newlines", "bufsize"),
    *("cwd", "env", "start_new_session"),
}
CARRIED = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
UTF8 = {"", "C", "POSIX", "C.UTF-8"}


class Warm:
    """Starts programs, most of them from one server that it starts with the first."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._turn = threading.Lock()
        self._env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def start(self, words: Sequence[str | os.PathLike[str]], **options: Any) -> Any:
        """As `subprocess.Popen`."""
        plain = [os.fspath(word) for word in words]
        request = self._request(plain, options)
        if request is None:
            return subprocess.Popen(plain, **options)
        return _Program(plain, self, request, options)

    def run(
        self,
        words: Sequence[str | os.PathLike[str]],
        *,
        input: Any = None,  # noqa: A002 - as there
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """As `subprocess.run`."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        if capture_output:
            options["stdout"] = options["stderr"] = subprocess.PIPE
        with self.start(words, **options) as program:
            try:
                out, err = program.communicate(input, timeout)
            except BaseException:
                program.kill()
                raise
        done = subprocess.CompletedProcess(program.args, program.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    async def open_process(
        self,
        words: Sequence[str | os.PathLike[str]],
        *,
        stdin: int | None = subprocess.PIPE,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
        **options: Any,
    ) -> Any:
        """As `anyio.open_process`."""
        plain = [os.fspath(word) for word in words]
        if self._request(plain, options) is None:
            return await _open_process(plain, stdin=stdin, stdout=stdout, stderr=stderr, **options)
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        return _AsyncProgram(self.start(plain, bufsize=0, **streams, **options))

    def asked(self, request: Mapping[str, Any], streams: Sequence[int]) -> int:
        """Ask the server for a program; what it tells of it can be read from the descriptor."""
        told, tells = os.pipe()
        body = json.dumps(request).encode()
        try:
            with self._turn:
                requests = self._opened()
                socket.send_fds(requests, [len(body).to_bytes(8, "big")], [*streams, tells])
                requests.sendall(body)
        finally:
            os.close(tells)
        return told

    def close(self) -> None:
        if self._requests is not None and self._server is not None:
            self._requests.close()
            self._server.wait()

    def _opened(self) -> socket.socket:
        if self._requests is None:
            self._requests, its = socket.socketpair()
            with its:
                words = [sys.executable, str(SERVER), str(its.fileno())]
                self._server = subprocess.Popen(words, pass_fds=[its.fileno()], env=self._env)
        return self._requests

    def _request(self, words: list[str], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """What to ask a server for; None for a program that has to be started."""
        if (
            not hasattr(os, "fork")
            or os.environ.get(OFF) == "0"
            or not options.keys() <= SAME_OPTIONS
        ):
            return None
        given = options.get("env")
        env = {
            os.fsdecode(k): os.fsdecode(v)
            for k, v in (os.environ if given is None else given).items()
        }
        program = _program(words)
        cwd = os.path.realpath(os.fspath(options.get("cwd") or "."))
        if program is None or not Path(cwd).is_dir() or not self._like_mine(env):
            return None
        if _locale(env) == "C.UTF-8" and env.get("LC_CTYPE", env.get("LANG", "")) in (
            "",
            "C",
            "POSIX",
        ):
            env["LC_CTYPE"] = "C.UTF-8"  # as the interpreter does
        return {
            **program,
            "words": words if words[0] == sys.executable else [sys.executable, *words],
            "cwd": cwd,
            "env": env,
            "start_new_session": bool(options.get("start_new_session")),
        }

    def _like_mine(self, env: Mapping[str, str]) -> bool:
        """Whether an interpreter would be configured as the server's is."""
        names = {name for name in {*env, *self._env} if name.startswith("PYTHON")} - CARRIED
        at_start = ("sitecustomize.py", "usercustomize.py")
        return (
            all(env.get(name) == self._env.get(name) for name in names)
            and _locale(env) == _locale(self._env)
            and not any(
                Path(folder, name).exists()
                for folder in env.get("PYTHONPATH", "").split(os.pathsep)
                for name in at_start
            )
        )


class _Program(subprocess.Popen[Any]):
    """A process that the server started: `subprocess.Popen` in all but how it starts and ends."""

    def __init__(
        self, words: list[str], warm: Warm, request: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        self._warm, self._request, self._told = warm, request, -1
        super().__init__(words, **options)

    def _execute_child(self, *args: Any) -> None:
        named = inspect.signature(subprocess.Popen._execute_child).bind(self, *args).arguments
        pipes = [
            named[name]
            for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        ]
        streams = (
            0 if pipes[0] == -1 else pipes[0],
            1 if pipes[3] == -1 else pipes[3],
            2 if pipes[5] == -1 else pipes[5],
        )
        try:
            self._told = self._warm.asked(self._request, streams)
            self.pid = _number(self._told)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)

    @property
    def told(self) -> int:
        """Can be read once the program has ended."""
        return self._told

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._told], [], [], 0)[0]:
            return 0, 0
        status = _number(self._told)
        os.close(self._told)
        return self.pid, status

    def _internal_poll(self, *args: Any, **options: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


class _AsyncProgram(anyio.abc.Process):
    """A program whose streams are awaited."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._in = _Pipe(program.stdin) if program.stdin else None
        self._out = _Pipe(program.stdout) if program.stdout else None
        self._err = _Pipe(program.stderr) if program.stderr else None

    async def wait(self) -> int:
        while (code := self._program.poll()) is None:
            await anyio.wait_readable(self._program.told)
        return code

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True) as scope:
            for each in (self._in, self._out, self._err):
                if each is not None:
                    await each.aclose()
            scope.shield = False
            try:
                await self.wait()
            except BaseException:
                scope.shield = True
                self.kill()
                await self.wait()
                raise

    def terminate(self) -> None:
        self._program.terminate()

    def kill(self) -> None:
        self._program.kill()

    def send_signal(self, signal: int) -> None:
        self._program.send_signal(signal)

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def returncode(self) -> int | None:
        return self._program.poll()

    @property
    def stdin(self) -> Any:
        return self._in

    @property
    def stdout(self) -> Any:
        return self._out

    @property
    def stderr(self) -> Any:
        return self._err


class _Pipe(anyio.abc.ByteStream):
    """One end of a pipe, of which only the direction it has is used."""

    def __init__(self, file: Any) -> None:
        self._file = file
        os.set_blocking(file.fileno(), False)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while True:
            if self._file.closed:
                raise anyio.ClosedResourceError
            try:
                data = os.read(self._file.fileno(), max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._file)
                continue
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        rest = memoryview(item)
        while rest:
            if self._file.closed:
                raise anyio.ClosedResourceError
            try:
                rest = rest[os.write(self._file.fileno(), rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._file)
            except BrokenPipeError:
                raise anyio.BrokenResourceError from None

    async def send_eof(self) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if not self._file.closed:
            anyio.notify_closing(self._file)
            self._file.close()
        await anyio.lowlevel.checkpoint()


def _number(descriptor: int) -> int:
    """The number on the next line, and no byte more."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise RuntimeError("the server of warm programs has ended; its words are above")
        line += byte
    return int(line)


def _program(words: Sequence[str]) -> dict[str, Any] | None:
    """How an interpreter would begin with these words, if they are for this one."""
    first, *rest = words
    if first != sys.executable:
        script = Path(first)
        if not script.is_absolute() or not _is_script_of_mine(script):
            return None
        rest = list(words)
    alone = rest[0] if rest and rest[0] in ("-I", "-P") and sys.prefix != sys.base_prefix else ""
    match rest[1:] if alone else rest:
        case ["-m", module, *arguments]:
            return {"kind": "module", "value": module, "argv": ["-m", *arguments], "alone": alone}
        case ["-c", code, *arguments]:
            return {"kind": "code", "value": code, "argv": ["-c", *arguments], "alone": alone}
        case [file, *_] as argv if not file.startswith("-"):
            return {"kind": "file", "value": file, "argv": argv, "alone": alone}
        case _:
            return None


def _is_script_of_mine(file: Path) -> bool:
    try:
        with file.open("rb") as script:
            return script.readline(4096).strip() == b"#!" + os.fsencode(sys.executable)
    except OSError:
        return False


def _locale(env: Mapping[str, str]) -> str:
    if env.get("LC_ALL"):
        return "LC_ALL=" + env["LC_ALL"]
    said = env.get("LC_CTYPE") or env.get("LANG") or ""
    return "C.UTF-8" if said in UTF8 else said


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts programs as `subprocess` does, for less."""
    programs = Warm()
    yield programs
    programs.close()
