"""Lays out bait, lets every attack of `probes.py` loose on it, and prints as JSON who got through.

`bait.py FOLDER [SANDBOX]` makes and leaves what it needs in FOLDER, which has to be empty. Each
attack runs twice, as an ordinary child of this process and in the sandbox.
"""

import ctypes
import fcntl
import json
import os
import runpy
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import anyio
from sashizu_core.sandboxing import Confinement, ProcessLimits
from sashizu_sandbox.bubblewrap.sandbox import open_bubblewrap
from sashizu_sandbox.landlock.sandbox import open_landlock
from sashizu_sandbox.seccomp.numbers import ARCHITECTURES

PROBES = Path(__file__).with_name("probes.py")

LIMITS = ProcessLimits(
    cpu_s=1, memory_bytes=512 * 1024**2, file_bytes=8 * 1024**2, processes=64, open_files=256
)

ENOUGH_S = 30

SANDBOXES = {"bubblewrap": open_bubblewrap, "landlock": open_landlock}


def workspace_in(folder):
    """A fresh workspace, as every attack finds it."""
    workspace = folder / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    for path, text in {
        ".git/config": "[core]\n",
        ".git/hooks/README": "",
        ".env": "TOKEN=secret",
        "deep/keys/token": "secret",
        "free/main.py": "",
    }.items():
        place = workspace / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return workspace


def confinement_of(workspace, library):
    protected = (".git/hooks", ".git/config", ".mcp.json", ".github/workflows")
    return Confinement(
        workspace,
        readable=(library, Path(sys.base_prefix)),
        writable=(workspace,),
        protected=tuple(workspace / path for path in protected),
        hidden=(workspace / ".env", workspace / "deep/keys"),
        environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        limits=LIMITS,
    )


def answer(listener):
    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.send(b"secret")

    threading.Thread(target=serve, daemon=True).start()


def answer_datagrams(there):
    def serve():
        while True:
            try:
                _, sender = there.recvfrom(512)
            except OSError:
                return
            there.sendto(b"secret", sender)

    threading.Thread(target=serve, daemon=True).start()


@contextmanager
def bait_in(folder):
    """Everything that an attack could want to have, as a context for `probes.py`."""
    home, library = folder / "home", folder / "library"
    (home / ".ssh").mkdir(parents=True)
    library.mkdir()
    (home / "notes").write_text("secret")
    (home / ".ssh/id_ed25519").write_text("secret")
    mark = secrets.token_hex(8)
    os.environ["BAIT"] = "secret"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        named.bind(str(folder / "socket"))
        abstract.bind("\0" + mark)
        udp.bind(("127.0.0.1", 0))
        named.listen()
        abstract.listen()
        for listener in (tcp, named, abstract):
            answer(listener)
        answer_datagrams(udp)
        victim = stack.enter_context(subprocess.Popen(["/bin/sleep", "3600"]))
        stack.callback(victim.kill)
        opened = os.open(home / "notes", os.O_RDONLY)
        os.set_inheritable(opened, True)
        stack.callback(os.close, opened)
        shared = Path("/dev/shm", mark)
        shared.write_text("secret")
        stack.callback(shared.unlink)
        libc = ctypes.CDLL(None, use_errno=True)
        key = secrets.randbits(30)
        memory = libc.shmget(key, 4096, 0o1600)
        stack.callback(libc.shmctl, memory, 0, None)
        machine = os.uname().machine
        yield {
            "home": str(home),
            "library": str(library),
            "workspace": str(folder / "workspace"),
            "victim": victim.pid,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(folder / "socket"),
            "abstract": mark,
            "shared": mark,
            "temporary": f"sashizu-{mark}",
            "memory_key": key,
            "numbers": ARCHITECTURES[machine].numbers,
            "limits": asdict(LIMITS),
        }


def what_is_left(name, context):
    """Look for what an attack has left behind that it could not see itself; put it back."""
    place = Path("/tmp", context["temporary"])
    if name == "write_temporary_folder_of_the_host":
        found = place.exists()
        place.unlink(missing_ok=True)
        return found
    if name == "live_on_as_a_daemon":
        workspace = Path(context["workspace"])
        with (workspace / "free/lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(int((workspace / "free/daemon").read_text()), signal.SIGKILL)
                return True
    return False


def outcome(name, context, status, said):
    """What an attack came to: `escaped`, `lacks`, `held` or `killed`, or how it broke."""
    word = said.strip().splitlines()[-1] if said.strip() else ""
    if what_is_left(name, context) or word == "ESCAPED":
        return "escaped"
    if word == "LACKS":
        return "lacks"
    if word.startswith("held"):
        return "held"
    return "killed" if status == -signal.SIGKILL and not word else f"broken ({status}): {said}"


async def attack_outside(argv, workspace):
    with anyio.fail_after(ENOUGH_S):
        process = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                argv, cwd=workspace, close_fds=False, capture_output=True, text=True, check=False
            )
        )
    return process.returncode, process.stdout or process.stderr


async def attack_inside(sandbox, argv, confinement):
    said = []
    status = None
    with anyio.move_on_after(ENOUGH_S):
        async with sandbox.start(argv, confinement) as process:

            async def listen(stream):
                said.extend([data async for data in stream])

            async with anyio.create_task_group() as group:
                group.start_soon(listen, process.stdout)
                group.start_soon(listen, process.stderr)
                status = await process.wait()
    return status, b"".join(said).decode("utf-8", "replace")


async def main(folder, kind):
    known = runpy.run_path(str(PROBES), run_name="known")
    library = folder / "library"
    results = {}
    with bait_in(folder) as context:
        shutil.copy(PROBES, library)
        async with SANDBOXES[kind]() as sandbox:
            for name in known["PROBES"]:
                result = results[name] = {"root_only": name in known["ROOT_ONLY"]}
                for where in ("outside", "inside"):
                    workspace = workspace_in(folder)
                    about = json.dumps({**context, "inside": where == "inside"})
                    program = os.path.realpath(sys.executable)
                    argv = [program, "-I", "-S", str(library / PROBES.name), name, about]
                    if where == "inside":
                        confinement = confinement_of(workspace, library)
                        ended = await attack_inside(sandbox, argv, confinement)
                    else:
                        ended = await attack_outside(argv, workspace)
                    result[where] = outcome(name, context, *ended)
    print(json.dumps(results))


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), (*sys.argv[2:], "bubblewrap")[0])
