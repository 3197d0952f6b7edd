"""What the sandboxes of this package are called, and where they are, without importing them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sashizu_core.sandboxing import Sandbox, SandboxInfo
from sashizu_core.specs import SandboxSpec

__all__ = ["sandbox_specs"]


def sandbox_specs(platform: str = sys.platform) -> Sequence[SandboxSpec]:
    """The sandboxes that there are on a platform; none of them is tried.

    The last holds nothing: it is only taken where the operator's settings name it.
    """
    nothing = SandboxSpec("none", "holds nothing", _probe_nothing, _open_nothing, rank=1000)
    match platform:
        case "linux":
            return [_bubblewrap(), _landlock(), nothing]
        case "darwin":
            return [_seatbelt(), nothing]
        case "win32":
            return [_srt(), _jobs(), nothing]
        case _:
            return [nothing]


def _bubblewrap() -> SandboxSpec:
    def probe() -> SandboxInfo:
        from sashizu_sandbox.bubblewrap.probe import probe_bubblewrap

        return probe_bubblewrap()

    def open_() -> AbstractAsyncContextManager[Sandbox]:
        from sashizu_sandbox.bubblewrap.sandbox import open_bubblewrap

        return open_bubblewrap()

    return SandboxSpec("bubblewrap", "namespaces of Linux, by bubblewrap", probe, open_, rank=10)


def _landlock() -> SandboxSpec:
    def probe() -> SandboxInfo:
        from sashizu_sandbox.landlock.sandbox import probe_landlock

        return probe_landlock()

    def open_() -> AbstractAsyncContextManager[Sandbox]:
        from sashizu_sandbox.landlock.sandbox import open_landlock

        return open_landlock()

    return SandboxSpec("landlock", "files and connections, by Landlock", probe, open_, rank=50)


def _seatbelt() -> SandboxSpec:
    def probe() -> SandboxInfo:
        from sashizu_sandbox.seatbelt import probe_seatbelt

        return probe_seatbelt()

    def open_() -> AbstractAsyncContextManager[Sandbox]:
        from sashizu_sandbox.seatbelt import open_seatbelt

        return open_seatbelt()

    return SandboxSpec("seatbelt", "files and connections, by macOS", probe, open_, rank=10)


def _jobs() -> SandboxSpec:
    def probe() -> SandboxInfo:
        from sashizu_sandbox.jobs import probe_jobs

        return probe_jobs()

    def open_() -> AbstractAsyncContextManager[Sandbox]:
        from sashizu_sandbox.jobs import open_jobs

        return open_jobs()

    return SandboxSpec("windows-job", "no sandbox: says why on Windows", probe, open_, rank=10)


def _srt() -> SandboxSpec:
    def probe() -> SandboxInfo:
        from sashizu_sandbox.srt import probe_srt

        return probe_srt()

    def open_() -> AbstractAsyncContextManager[Sandbox]:
        from sashizu_sandbox.srt import open_srt

        return open_srt()

    return SandboxSpec("srt", "the sandbox runtime: not used yet", probe, open_, rank=20)


def _probe_nothing() -> SandboxInfo:
    from sashizu_sandbox.nothing import INFO

    return INFO


def _open_nothing() -> AbstractAsyncContextManager[Sandbox]:
    from sashizu_sandbox.nothing import open_nothing

    return open_nothing()
