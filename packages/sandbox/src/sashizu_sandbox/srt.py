"""`srt`, the sandbox runtime of Anthropic, on Windows: known, looked for, and not used.

Its policy is a file of its own, and what of a `Confinement` it holds on Windows has to be tried
there, attack by attack, before a program may rest on it. Nobody has done that yet.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractAsyncContextManager, nullcontext

from sashizu_core.sandboxing import NoSandbox, Sandbox, SandboxInfo

__all__ = ["open_srt", "probe_srt"]

_UNSUPPORTED = "unsupported: what it holds on Windows has not been tried against what was granted"


def probe_srt() -> SandboxInfo:
    """That it is not used, and whether it is there."""
    where = "it is installed" if shutil.which("srt") else "it is not installed"
    return SandboxInfo("srt", "none", f"{_UNSUPPORTED} ({where})", "run sashizu in WSL")


def open_srt() -> AbstractAsyncContextManager[Sandbox]:
    """Something that starts no program, and says why."""
    return nullcontext(NoSandbox(probe_srt()))
