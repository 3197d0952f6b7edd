"""Makes first answers that are not there yet, in a process that a client cannot end."""

import os

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import NoReturn

    from sashizu_mcp_server.startup.options import Options

__all__ = ["prepare_apart"]

MOST_S = 60
"""How long the process may take before the system ends it, in seconds."""


def prepare_apart(options: "Options") -> bool:
    """Have the answers made and kept; False where that cannot be done in this way.

    A client that has waited long enough kills its server with all of its group. Would the answers
    be made in there, they would be missing at the next start again, and on a busy machine at all.
    """
    if not hasattr(os, "fork"):
        return False
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        _prepare(options)
    return os.waitpid(child, 0)[1] == 0


def _prepare(options: "Options") -> "NoReturn":
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):  # the client's pipes close when the server has gone, whatever is here
            os.dup2(nothing, fd)
        from signal import alarm

        alarm(MOST_S)
        from sashizu_mcp_server.server.run import prepare

        prepare(options)
        code = 0
    finally:
        os._exit(code)
