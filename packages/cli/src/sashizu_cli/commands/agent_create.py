"""`sashizu agent-create PROMPT`: a model writes the definition of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sashizu_core.errors import UsageError
from sashizu_core.types import RunReport, Task

from sashizu_cli import flags, keyboard, render
from sashizu_cli.execution import RunRequest, watched
from sashizu_cli.exits import FAILED, INTERRUPTED, OK, exit_code
from sashizu_cli.limits import limits_of
from sashizu_cli.outfile import OutFile, opened
from sashizu_cli.session import Session, session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.tasks import text_or_stdin
from sashizu_cli.windows_ai import on_windows_ai

if TYPE_CHECKING:
    from sashizu_core.creation import CreatedAgent

app = new_app()


@app.command(cls=Command)
def agent_create(
    ctx: typer.Context,
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT", help="What the agent should be for; '-' reads it from stdin."
        ),
    ],
    save: Annotated[
        bool, typer.Option("--save", help="Keep it in .sashizu/agents, trusted as shown.")
    ] = False,
    run: Annotated[
        bool, typer.Option("--run", help="Have it do what it is for, with what is left.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Save and run it as it comes, without being asked.")
    ] = False,
    budgets: flags.Budgets = None,
    deadline: flags.Deadline = None,
    model: flags.Model = None,
    approve: flags.Approve = None,
    out: flags.Out = None,
    as_json: flags.AsJson = False,
    no_audit: flags.NoAudit = False,
) -> int:
    """Have a model write the definition of an agent, and print it.

    It can do no more than you may grant, and use no more than the budget, which pays for the model
    too; what it wants beyond that is shown as refused. Nothing is saved or run unless you agree.
    """
    if (save or run) and not yes and not keyboard.somebody_there():
        raise UsageError("nobody is here to look at it: say --yes, or neither --save nor --run")
    session = session_of(ctx)
    limits = limits_of(budgets, deadline, session, [])
    if limits.agents:
        raise UsageError("--budget AGENT=... is for an agent that there is; bound the whole run")
    request = RunRequest(
        (),
        budget=limits.run,
        deadline_s=limits.deadline_s,
        model=model,
        approve=approve,
        as_json=as_json,
        audit=not no_audit,
    )
    request = on_windows_ai(request, session)
    asked = _Asked(text_or_stdin(prompt), request, session, save=save, run=run, yes=yes)
    with opened(out) as file:
        return asked.carry_out(file)


class _Asked:
    """One call of the command."""

    def __init__(
        self,
        prompt: str,
        request: RunRequest,
        session: Session,
        *,
        save: bool,
        run: bool,
        yes: bool,
    ) -> None:
        self._prompt = prompt
        self._request = request
        self._session = session
        self._save = save
        self._run = run
        self._yes = yes

    def carry_out(self, file: OutFile | None) -> int:
        """Make the agent; then, if somebody agrees, save and run it. Returns the exit code."""
        from sashizu_cli.created import created_text

        created, interrupted = watched(
            self._request, self._session, partial(_create, self._prompt), file
        )
        self._show(created)
        saved: Path | None = None
        result: RunReport | None = None
        code = OK if created.ok else exit_code(created.run.results) or FAILED
        try:
            if created.ok and not interrupted and self._agreed(created):
                saved = self._saved(created) if self._save else None
                if self._run:
                    result, interrupted = self._ran(created, file)
                    code = exit_code(result.results)
        finally:
            if file is not None:
                file.write(created_text(self._prompt, created, saved, result) + "\n")
        return INTERRUPTED if interrupted else code

    def _show(self, created: CreatedAgent) -> None:
        from sashizu_core.creation import agent_path

        from sashizu_cli.created import print_created

        name = created.definition.name if created.definition is not None else ""
        print_created(created, agent_path(name), to_stderr=self._request.as_json)

    def _agreed(self, created: CreatedAgent) -> bool:
        """Ask whether the agent is saved and run as it was just shown; no is the default."""
        verbs = [verb for verb, wanted in (("save", self._save), ("run", self._run)) if wanted]
        if not verbs or self._yes:
            return bool(verbs)
        keyboard.forget_typed()
        render.prompt(f"{' and '.join(verbs).capitalize()} this agent as shown? [y/N] ")
        if keyboard.typed_line().lower() in ("y", "yes"):
            return True
        render.note(f"{created.definition.name if created.definition else 'it'} is not kept")
        return False

    def _saved(self, created: CreatedAgent) -> Path:
        import anyio
        from sashizu_core.creation import save_agent

        session = self._session
        path = anyio.run(
            partial(
                save_agent,
                created,
                settings=session.settings,
                registry=session.registry,
                audit=self._request.audit,
            )
        )
        render.line(f"wrote {path.as_posix()}", to_stderr=self._request.as_json)
        return path

    def _ran(self, created: CreatedAgent, file: OutFile | None) -> tuple[RunReport, bool]:
        """Have the agent do what it is for, under what making it has left."""
        from sashizu_cli.created import limits_left
        from sashizu_cli.execution import delegated
        from sashizu_cli.reports import print_report

        assert created.definition is not None
        left, left_s = limits_left(created, self._request.deadline_s)
        request = RunRequest(
            [Task(created.definition.name)],
            budget=left,
            deadline_s=left_s,
            model=self._request.model,
            approve=self._request.approve,
            as_json=self._request.as_json,
            audit=self._request.audit,
            definitions=[created.definition],
        )
        report, interrupted = watched(request, self._session, partial(delegated, request), file)
        for text in report.warnings:
            render.warning(text)
        print_report(report, to_stderr=request.as_json)
        return report, interrupted


async def _create(prompt: str, options: Mapping[str, Any]) -> CreatedAgent:
    from sashizu_core.creation import create_agent

    return await create_agent(prompt, **options)
