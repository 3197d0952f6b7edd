"""`sashizu completion SHELL`: the script that completes commands, agents and models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sashizu_cli import render
from sashizu_cli.shared import Command, new_app

app = new_app()


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


@app.command(cls=Command)
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="The shell.")],
) -> None:
    """Print the script that completes sashizu's words in a shell.

    For bash: sashizu completion bash >> ~/.bashrc
    """
    from typer._completion_shared import get_completion_script

    render.raw(
        get_completion_script(
            prog_name="sashizu", complete_var="_SASHIZU_COMPLETE", shell=shell.value
        )
    )
