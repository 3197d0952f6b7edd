"""The process that a model server lives and dies with. Run as a module; the order is on stdin.

It is nobody's child for long: runs come and go, and the server stays as long as somebody uses it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from sashizu_core.errors import SashizuError
from sashizu_core.processes import this_process

from sashizu_gpu_driver.admission.controller import Controller
from sashizu_gpu_driver.admission.file import AdmissionFile, LedgerDamaged
from sashizu_gpu_driver.serving.order import Order, Told
from sashizu_gpu_driver.serving.tied import Guard, dies_with_us, tie_children

__all__ = ["main"]

POLL_S = 0.2
STOP_S = 10.0
TAKEN_S = 5.0
LOG_BYTES = 20_000
LOG_MOST = 16 << 20
"""A server's log that grows beyond so many bytes keeps its last `LOG_KEPT`."""
LOG_KEPT = 1 << 20

_NO_MEMORY = re.compile(
    r"out of memory|cudaMalloc failed|OutOfMemory|CUDA_ERROR_OUT_OF_MEMORY|failed to allocate|"
    r"unable to allocate|HIP out of memory|bad_alloc|Free memory on device",
    re.IGNORECASE,
)
"""What llama.cpp, Ollama, PyTorch and vLLM say when a device has no room."""


def main() -> int:
    """Keep one server; 0 once it has left, 1 where it did not start."""
    order = Order.model_validate_json(sys.stdin.buffer.read())
    ledger = AdmissionFile(order.ledger)
    controller = Controller(ledger)
    server: subprocess.Popen[bytes] | None = None
    guard: Guard | None = None
    told = Told(pid=0, problem="it was told to end")
    try:
        signal.signal(signal.SIGTERM, _ended)
        if not controller.keep(order.place, this_process(), now=time.monotonic()):
            told = Told(pid=0, problem="its place was given back meanwhile")
            return 1
        if _is_taken(order.url):
            told = Told(pid=0, problem=f"another server answers at {order.url} already")
            controller.failed(order.place, out_of_memory=False)
            return 1
        tie_children()
        server = _start(order)
        guard = Guard(server.pid) if sys.platform != "win32" else None
        controller.keep(order.place, this_process(), server.pid)
        told = _wait(order, server, controller)
        if told.problem:
            _stop(server)
            controller.failed(order.place, out_of_memory=told.out_of_memory)
            return 1
        controller.loaded(order.place, time.monotonic())
        _tell(told)
        _keep(order, server, controller)
    except OSError as error:
        told = Told(pid=0, problem=f"{order.argv[0]!r}: {(error.strerror or str(error)).lower()}")
        controller.failed(order.place, out_of_memory=False)
        return 1
    except SashizuError as error:
        told = Told(pid=0, problem=str(error))  # the place ends with this process
        return 1
    else:
        return 0
    finally:
        if told.problem:
            _tell(told)
        if server is not None:
            _stop(server)
        if guard is not None:
            guard.over()
        ledger.close()


def _ended(*_: object) -> None:
    raise SystemExit(0)


def _tell(told: Told) -> None:
    """Say it to whoever started this process, if that is still there."""
    try:
        os.write(1, told.model_dump_json().encode() + b"\n")
    except OSError:
        return


def _start(order: Order) -> subprocess.Popen[bytes]:
    log = os.open(order.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - the user's own settings name it
            order.argv,
            env={**os.environ, **order.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=sys.platform != "win32",
            preexec_fn=dies_with_us(),  # noqa: PLW1509 - this process has one thread
        )
    finally:
        os.close(log)


def _wait(order: Order, server: subprocess.Popen[bytes], controller: Controller) -> Told:
    """Wait until the server answers, ends, or has taken too long."""
    until = time.monotonic() + order.start_timeout_s
    beaten = time.monotonic()
    while (now := time.monotonic()) < until:
        if now - beaten >= controller.rules.beat_s:
            with suppress(SashizuError):  # the lease is longer than several of them
                controller.beat(this_process(), now)
            beaten = now
        code = server.poll()
        if code is not None:
            said = _last_words(order.log)
            return Told(
                pid=server.pid,
                problem=f"the server ended with exit code {code} before it answered: {said[-500:]}",
                out_of_memory=_NO_MEMORY.search(said) is not None,
            )
        if _answers(order.url) and server.poll() is None:
            return Told(pid=server.pid)
        time.sleep(POLL_S)
    return Told(
        pid=server.pid,
        problem=f"{order.url}/models did not answer within {order.start_timeout_s:g} s",
    )


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/models", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        with error:
            return error.code in (401, 403)  # it wants a key, which is the callers' to have
    except (OSError, ValueError, HTTPException):
        return False


def _is_taken(url: str) -> bool:
    """Whether somebody listens there; one who is about to end has a moment to do so."""
    until = time.monotonic() + TAKEN_S
    while _listens(url):
        if time.monotonic() >= until:
            return True
        time.sleep(POLL_S)
    return False


def _listens(url: str) -> bool:
    place = urlsplit(url)
    try:
        with socket.create_connection((place.hostname or "", place.port or 80), timeout=2):
            return True
    except (OSError, ValueError):
        return False


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
        return file.read().decode("utf-8", "replace").strip()


def _shorten(log: Path) -> None:
    """Cut the beginning off a long log, to which the server goes on to append."""
    with suppress(OSError), log.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > LOG_MOST:
            file.seek(-LOG_KEPT, os.SEEK_END)
            kept = file.read()
            file.truncate(0)
            file.seek(0)
            file.write(kept)


def _keep(order: Order, server: subprocess.Popen[bytes], controller: Controller) -> None:
    """Stay until nobody needs the server, or it has ended by itself."""
    while server.poll() is None:
        try:
            leaves = controller.may_leave(order.place, time.monotonic(), order.keep_s)
        except LedgerDamaged:
            _stop(server)  # nobody will ever say that it is not used any more
            return
        except SashizuError:
            leaves = False  # a full disk or a lock is no reason to end what is in use
        if leaves:
            _stop(server)
            controller.left(order.place, (), time.monotonic())
            return
        _shorten(order.log)
        time.sleep(POLL_S)
    controller.gone(order.place)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started."""
    for sent, patience in (("SIGTERM", STOP_S), ("SIGKILL", STOP_S)):
        _signal(server, sent)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        _signal(server, "SIGKILL")
        return


def _signal(server: subprocess.Popen[bytes], name: str) -> None:
    if sys.platform == "win32":
        server.terminate() if name == "SIGTERM" else server.kill()
        return
    try:
        os.killpg(server.pid, getattr(signal, name))
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    sys.exit(main())
