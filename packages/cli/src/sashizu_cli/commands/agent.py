"""`sashizu agent`: which agents there are, what one may do, whether files are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sashizu_cli import render
from sashizu_cli.catalogue import catalogue_of, complete_agents
from sashizu_cli.exits import USAGE
from sashizu_cli.json_text import json_text
from sashizu_cli.session import Session, session_of
from sashizu_cli.shared import Command, new_group

if TYPE_CHECKING:
    from sashizu_core.agents import AgentEntry

app = new_group("See and check agents.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list", cls=Command)
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List all agents and where they come from."""
    catalogue = catalogue_of(session_of(ctx))
    if as_json:
        render.raw(json_text([_summary(entry) for entry in catalogue], indent=2))
    else:
        rows = [(entry.name, entry.scope, entry.definition.goal) for entry in catalogue]
        render.table([("NAME", "FROM", "GOAL"), *rows])
    for problem in catalogue.problems:
        render.warning(str(problem.error))


def _summary(entry: AgentEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "scope": entry.scope,
        "file": str(entry.file),
        "goal": entry.definition.goal,
        "warnings": list(entry.warnings),
    }


@app.command(cls=Command)
def show(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", autocompletion=complete_agents, help="The agent.")
    ],
    as_json: AsJson = False,
) -> None:
    """Print an agent's definition and the tools it has.

    A tool exists for an agent only if it is listed and what bounds it is granted.
    """
    session = session_of(ctx)
    entry = catalogue_of(session).entry(name)
    found = {**_summary(entry), **_effective(entry, session)}
    definition = entry.definition.model_dump(mode="json", exclude_defaults=True)
    if as_json:
        render.raw(json_text({**found, "definition": definition}, indent=2))
        return
    import yaml

    render.line(f"# {entry.scope} agent, from {entry.file}")
    render.line(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True).rstrip("\n"))
    render.line("\n# effective tools")
    render.table([(tool, summary) for tool, summary in found["tools"].items()] or [("none", "")])
    if found["absent"]:
        render.line("\n# listed, but not there")
        render.table(list(found["absent"].items()))
    for warning in entry.warnings:
        render.warning(warning)


def _effective(entry: AgentEntry, session: Session) -> dict[str, Any]:
    from sashizu_core.agents import effective_tools
    from sashizu_core.agents.effective import served_tools

    registry, definition = session.registry, entry.definition
    asked = bool(registry.tool_sources)
    present, absent = effective_tools(definition, registry.tools, served=asked)
    tools = {name: spec.summary for name, spec in present.items()}
    for name in served_tools(definition, registry.tools) if asked else ():
        tools[name] = "of a server, which is asked when a run starts"
    return {"tools": tools, "absent": absent}


@app.command(cls=Command)
def check(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Agent files; without any, all that can be found."),
    ] = None,
) -> int:
    """Read agent files and say what is wrong with them; the exit code is 2 if anything is."""
    session = session_of(ctx)
    entries, faults = _read(files, session)
    for entry in entries:
        for warning in entry.warnings:
            render.warning(warning)
        fault = _tool_fault(entry, session)
        if fault:
            faults.append(f"{entry.file}: {fault}")
        else:
            render.line(f"ok  {entry.name}  {entry.file}")
    for text in faults:
        render.error(text)
    return USAGE if faults else 0


def _read(files: list[Path] | None, session: Session) -> tuple[list[AgentEntry], list[str]]:
    from sashizu_core.agents import read_agent_file
    from sashizu_core.errors import ConfigError

    if not files:
        catalogue = catalogue_of(session)
        return list(catalogue), [str(problem.error) for problem in catalogue.problems]
    entries, faults = [], []
    for file in files:
        try:
            entries.append(read_agent_file(file))
        except ConfigError as error:
            faults.append(str(error))
    return entries, faults


def _tool_fault(entry: AgentEntry, session: Session) -> str:
    """What is wrong with the tools that an agent lists, or nothing."""
    from sashizu_core.errors import UsageError

    try:
        _effective(entry, session)
    except UsageError as error:
        return str(error)
    return ""
