"""What the process is told that keeps a model server, and what it answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["Order", "Told"]


class Order(BaseModel):
    """A server to keep: `argv` is started with `env` on top of the keeper's own.

    `url` is the base URL of its API, `log` the file that its output goes to, times are seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ledger: Path
    place: int
    argv: tuple[str, ...]
    env: dict[str, str]
    url: str
    log: Path
    start_timeout_s: float
    keep_s: float


class Told(BaseModel):
    """How the start went: `pid` is the server's, `problem` is empty where it answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    problem: str = ""
    out_of_memory: bool = False
