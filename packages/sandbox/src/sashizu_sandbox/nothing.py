"""Holds nothing: programs run as we do. Only the operator's settings can choose it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, SandboxedProcess, SandboxInfo

__all__ = ["INFO", "Nothing", "open_nothing"]

INFO = SandboxInfo("none", "none", "programs are not held at all; the operator's settings said so")


@asynccontextmanager
async def open_nothing() -> AsyncIterator[Nothing]:
    yield Nothing()


class Nothing:
    """Starts programs in their folder, with their environment, and nothing that holds them."""

    @property
    def info(self) -> SandboxInfo:
        return INFO

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[SandboxedProcess]:
        if confinement.served:
            raise SandboxError("what is not held has no network of its own that could be served")
        if sys.platform == "win32":
            from sashizu_sandbox.jobs import child_in_job

            async with child_in_job(argv, confinement, stdin=stdin) as process:
                yield process
        else:
            from sashizu_sandbox.plain import child

            async with child(argv, confinement, stdin=stdin) as process:
                yield process
