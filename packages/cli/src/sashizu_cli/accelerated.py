"""`--kernel-accelerated`: nothing is done unless the native driver of devices has answered."""

from __future__ import annotations

from sashizu_core.entries import installed_names
from sashizu_core.errors import MissingPackage, UsageError

from sashizu_cli import render
from sashizu_cli.plain import one_line
from sashizu_cli.session import Session

__all__ = ["require_driver"]

OPTION = "--kernel-accelerated"
BACKEND = "native"
PLUGIN = "gpu"


def require_driver(session: Session) -> None:
    """Shake hands with the driver, once a call, and say on stderr which backend answered.

    Raises:
        MissingPackage: nobody offers the backend `native`.
        UsageError: the driver is not there, may not be used, or speaks another version.
    """
    if session.answered:
        return
    if PLUGIN in installed_names():  # its driver is off unless somebody wants it
        session.overrides.append(f"{PLUGIN}.native=true")
    spec = session.registry.devices.get(BACKEND)
    if spec is None:
        raise MissingPackage(OPTION, "sashizu-gpu-driver")
    with spec.open() as backend:
        probe = backend.probe()
    if probe.state != "ok":
        remedy = f"; {probe.remedy}" if probe.remedy else ""
        raise UsageError(one_line(f"{OPTION}: {probe.reason}{remedy}"))
    session.answered = True
    render.line(one_line(f"{OPTION}: backend {BACKEND} answered: {probe.reason}"), to_stderr=True)
