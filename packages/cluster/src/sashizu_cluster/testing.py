"""A real PostgreSQL for tests: started for them, thrown away after them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

__all__ = ["TemporaryPostgres", "missing_postgres", "temporary_postgres"]

VERSIONS = (18, 17, 16, 15, 14)

START_S = 60.0
"""How long a server may take to start or to end, in seconds."""

NOBODY = 65534
"""The user and group that the server runs as where the test is root's: it refuses to be root."""


def missing_postgres() -> str:
    """Why no server can be started here; empty if one can."""
    if _programs() is None:
        return "PostgreSQL's server is missing (Debian: apt-get install postgresql-15)"
    return ""


@dataclass(slots=True)
class TemporaryPostgres:
    """A server of its own data folder, on a Unix socket and on a port of this machine.

    `superuser` is who may do everything; it connects without a password.
    """

    folder: Path
    programs: Path
    port: int
    fsync: bool
    superuser: str = "postgres"
    _names: Iterator[int] = field(default_factory=lambda: count(1))

    def dsn(self, database: str = "postgres", *, user: str = "", tcp: bool = False) -> str:
        """How to connect: over the Unix socket, or over TCP."""
        host = "127.0.0.1" if tcp else str(self.folder)
        return f"host={host} port={self.port} user={user or self.superuser} dbname={database}"

    def create_database(self) -> str:
        """Make an empty database; returns its name."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self.dsn(), autocommit=True) as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        with psycopg.connect(self.dsn(), autocommit=True) as db:
            db.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = (
            f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} "
            f"-c fsync={'on' if self.fsync else 'off'} -c max_connections=200 "
            "-c shared_buffers=32MB -c logging_collector=off -c wal_sender_timeout=5s"
        )
        self._ctl("start", "-o", options, "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """End the server: `fast`, or `immediate` as if the machine had lost power."""
        self._ctl("stop", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """End the server and start it again."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Have the whole server hang, as if the network swallowed everything."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_all(signal.SIGCONT)

    def log(self) -> str:
        """What the server said."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def _signal_all(self, number: int) -> None:
        """To the server and to each of its processes: they have its process group."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text("ascii").split("\n")[0])
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    fields = (entry / "stat").read_text("ascii", "replace").rpartition(")")[2]
                    if int(entry.name) == pid or int(fields.split()[1]) == pid:
                        os.kill(int(entry.name), number)

    def _ctl(self, *words: str) -> None:
        data = str(self.folder / "data")
        command = [str(self.programs / "pg_ctl"), "-D", data, "-w", "-t", str(int(START_S)), *words]
        _run(command, self.folder)


@contextmanager
def temporary_postgres(*, fsync: bool = False) -> Iterator[TemporaryPostgres]:
    """A server for a block; without `fsync` it is as safe as the machine's power.

    Raises:
        RuntimeError: there is none, or it does not start; the message has what it said.
    """
    programs = _programs()
    if programs is None:
        raise RuntimeError(missing_postgres())
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the paths of sockets are short
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        _run(
            [
                str(programs / "initdb"),
                *("-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8"),
                *("--no-locale", "--no-instructions", "--no-sync"),
            ],
            folder,
        )
        server = TemporaryPostgres(folder, programs, _free_port(), fsync)
        server.start()
        try:
            yield server
        finally:
            with suppress(RuntimeError):  # a test may have left it paused or ended
                server.resume()
            with suppress(RuntimeError):
                server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    """Run a program of the server's, as somebody who is not root."""
    others: dict[str, int] = {}
    if os.geteuid() == 0:
        others = {"user": NOBODY, "group": NOBODY}
    output = folder / "output"
    with output.open("w") as out:
        done = subprocess.run(  # type: ignore[call-overload] # noqa: S603
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            timeout=START_S * 2,
            extra_groups=[] if others else None,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            **others,
        )
    if done.returncode:
        log = folder / "log"
        said = output.read_text("utf-8", "replace")
        said += log.read_text("utf-8", "replace")[-2000:] if log.exists() else ""
        raise RuntimeError(f"{Path(command[0]).name} failed: {said.strip()}")


def _programs() -> Path | None:
    """The folder of `initdb`, `pg_ctl` and `postgres`: Debian's newest, or PATH's."""
    for version in VERSIONS:
        folder = Path(f"/usr/lib/postgresql/{version}/bin")
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found and shutil.which("postgres") else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
