"""Tries bubblewrap for real, and says what a person can do where it does not work."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import anyio
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, SandboxInfo

from sashizu_sandbox.bubblewrap.program import find_bubblewrap
from sashizu_sandbox.bubblewrap.sandbox import open_bubblewrap

__all__ = ["Surroundings", "look_around", "probe_bubblewrap", "remedy"]

NAME = "bubblewrap"

_INSTALL = "install it (`apt install bubblewrap`), or `pip install 'sashizu-sandbox[bubblewrap]'`"
_ENOUGH_S = 20.0

_LAST_ANSWER = "sashizu-probe"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of this machine decides whether a sandbox can be made; None where it is not known.

    Sources: `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu), `user.max_user_namespaces`,
    `kernel.unprivileged_userns_clone` (Debian), and whether we are in a container or filtered.
    """

    root: bool = False
    apparmor_restricts: bool = False
    namespaces_off: bool = False
    clone_off: bool = False
    in_container: bool = False


def look_around(root: Path = Path("/")) -> Surroundings:
    """Read the surroundings below `root`, the root folder of the system."""
    sysctl = root / "proc/sys"
    containers = (".dockerenv", "run/.containerenv")
    return Surroundings(
        root=os.geteuid() == 0,
        apparmor_restricts=_reads(sysctl / "kernel/apparmor_restrict_unprivileged_userns", "1"),
        namespaces_off=_reads(sysctl / "user/max_user_namespaces", "0"),
        clone_off=_reads(sysctl / "kernel/unprivileged_userns_clone", "0"),
        in_container=any((root / name).exists() for name in containers),
    )


def _reads(path: Path, value: str) -> bool:
    try:
        return path.read_text("ascii").strip() == value
    except OSError:
        return False


def remedy(surroundings: Surroundings) -> str:
    """What a person can do so that a sandbox can be made; empty where nothing is known."""
    if surroundings.namespaces_off:
        return "`sudo sysctl -w user.max_user_namespaces=15000`, and the same in /etc/sysctl.d"
    if surroundings.clone_off and not surroundings.root:
        return "`sudo sysctl -w kernel.unprivileged_userns_clone=1`, and the same in /etc/sysctl.d"
    if surroundings.apparmor_restricts and not surroundings.root:
        return (
            "`sudo apt install bubblewrap apparmor-profiles && "
            "sudo ln -sf /usr/share/apparmor/extra-profiles/bwrap-userns-restrict "
            "/etc/apparmor.d/ && sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict`: "
            "AppArmor lets only programs with a profile make user namespaces"
        )
    if surroundings.in_container:
        return (
            "start the container with `--security-opt seccomp=unconfined --security-opt "
            "apparmor=unconfined --security-opt systempaths=unconfined`, or sashizu outside of it"
        )
    return ""


def probe_bubblewrap() -> SandboxInfo:
    """Run one program in the sandbox and look at what it could do. Blocks for some 50 ms."""
    if find_bubblewrap() is None:
        return SandboxInfo(NAME, "none", "there is no bubblewrap", _INSTALL)
    try:
        # A loop of its own, on a thread of its own: whoever asks may be in a loop already.
        with ThreadPoolExecutor(1) as thread:
            reason = thread.submit(anyio.run, _try).result()
    except SandboxError as error:
        reason = str(error)
    if reason:
        return SandboxInfo(NAME, "none", reason, remedy(look_around()))
    return SandboxInfo(NAME, "enforced")


async def _try() -> str:
    """Start a program; why it cannot be held, empty if it can.

    Raises:
        SandboxError: it could not be started.
    """
    script = f"cat /etc/shadow; echo x >/usr/x; unshare -r true || echo {_LAST_ANSWER}"
    confinement = Confinement(Path("/tmp"), environment={"PATH": "/usr/bin:/bin"})  # noqa: S108
    with anyio.move_on_after(_ENOUGH_S):
        async with (
            open_bubblewrap() as sandbox,
            sandbox.start(["/bin/sh", "-c", script], confinement) as process,
        ):
            said = [data async for data in process.stdout]
            complaint = [data async for data in process.stderr]
            status = await process.wait()
            if b"".join(said).decode("utf-8", "replace").strip() == _LAST_ANSWER and status == 0:
                return ""
            text = b"".join(complaint).decode("utf-8", "replace").strip()
            return text or f"a held program was not held: it ended with {status}"
    return "a program in it did not end"
