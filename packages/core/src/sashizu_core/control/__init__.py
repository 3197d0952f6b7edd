"""The control socket of a run, from both sides.

Each run listens on a Unix socket in the state folder and keeps a small file beside it, so that runs
can be listed after they ended. The protocol is one JSON object per line: a request, then answers.
"""

from sashizu_core.control.client import (
    approve,
    cancel,
    events,
    find_run,
    list_runs,
    running_runs,
    status,
)
from sashizu_core.control.handle import RunHandle, RunInfo
from sashizu_core.control.server import ControlServer

__all__ = [
    "ControlServer",
    "RunHandle",
    "RunInfo",
    "approve",
    "cancel",
    "events",
    "find_run",
    "list_runs",
    "running_runs",
    "status",
]
