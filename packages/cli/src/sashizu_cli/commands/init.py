"""`sashizu init`: the first settings and the first agent of a project."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.trust import TrustStore

from sashizu_cli import render
from sashizu_cli.shared import Command, new_app

app = new_app()


@app.command(cls=Command)
def init(
    agent: Annotated[
        str, typer.Option("--agent", metavar="NAME", help="The name of the agent.")
    ] = "docs-checker",
) -> None:
    """Write sashizu.toml and one agent into this folder; nothing is overwritten.

    The agent is trusted as it was written; once you have changed it, say sashizu trust.
    """
    from sashizu_core.agents import read_agent_text

    folder = Path.cwd()
    path = Path(".sashizu", "agents", f"{agent}.yaml")
    text = _template("agent.yaml").substitute(name=agent)
    try:
        read_agent_text(text, Path("agent.yaml"))
    except ConfigError as error:
        raise UsageError(
            f"--agent {agent!r} is no name for an agent: write letters, digits and single - . _"
        ) from error
    if files("sashizu_core").joinpath("shipped", f"{agent}.yaml").is_file():
        raise UsageError(
            f"--agent {agent!r} is the name of an agent that comes with sashizu, which a project "
            "cannot take; choose another"
        )
    _write(folder, Path("sashizu.toml"), _template("sashizu.toml").template)
    if _write(folder, path, text):
        TrustStore().trust(folder, {path.as_posix(): sha256(text.encode()).hexdigest()})


def _template(name: str) -> Template:
    return Template(files("sashizu_cli").joinpath("templates", name).read_text("utf-8"))


def _write(folder: Path, path: Path, text: str) -> bool:
    """Write a new file beneath the folder, or say that it is there already: then False.

    Raises:
        UsageError: it cannot be written, or a link leads out of the folder.
    """
    target = folder / path
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{path} is not written: its folder is a link out of {folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or target.is_symlink():
            render.note(f"{path.as_posix()} is there already, and stays as it is")
            return False
        fresh.write_bytes(text.encode())
        fresh.rename(target)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    render.line(f"wrote {path.as_posix()}")
    return True
