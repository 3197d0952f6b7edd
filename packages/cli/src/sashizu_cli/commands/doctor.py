"""`sashizu doctor`: what is there, what is missing, what is broken."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sashizu_cli import render
from sashizu_cli.checks import all_findings
from sashizu_cli.exits import FAILED, OK
from sashizu_cli.json_text import json_text
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app

app = new_app()


@app.command(cls=Command)
def doctor(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Look for what is missing or broken; the exit code is 1 if anything is broken."""
    findings = list(all_findings(session_of(ctx)))
    if as_json:
        render.raw(json_text([asdict(finding) for finding in findings], indent=2))
    else:
        render.table([(finding.about, finding.state, finding.text) for finding in findings])
    return FAILED if any(finding.state == "problem" for finding in findings) else OK
