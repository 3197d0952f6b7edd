"""The variables that a program of the shell is given."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sashizu_core.program_homes.looking import is_folder
from sashizu_core.workspace import Workspace

from sashizu_sandbox.shell.programs import Programs

__all__ = ["environment_of"]

_PLACES = {"CARGO_HOME": "/tmp/cargo", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - its own
"""Where programs keep what they need for themselves: what is there is gone when they end."""

_PLAIN_OUTPUT = {"CLICOLOR": "0", "NO_COLOR": "1", "PAGER": "cat", "TERM": "dumb"}


def environment_of(
    given: Mapping[str, str],
    own: Mapping[str, str],
    workspace: Workspace,
    programs: Programs,
    *,
    any_code: bool,
) -> dict[str, str]:
    """The variables of one program.

    `given` are those of the sandbox, `own` those that the program's table sets. Only a program that
    is any code anyway finds programs of the workspace.
    """
    folders = [str(folder) for folder in programs.folders]
    if any_code:
        folders[:0] = [str(folder) for folder in programs.own_folders if is_folder(folder)]
    return {
        **_PLACES,
        **given,
        **_PLAIN_OUTPUT,
        "GIT_CEILING_DIRECTORIES": str(workspace.root.parent),
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "PATH": os.pathsep.join(folders),
        **own,
    }
