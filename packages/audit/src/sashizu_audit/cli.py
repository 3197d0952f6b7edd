"""The command `audit`: the only module here that prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from sashizu_core.errors import UsageError, nearest

from sashizu_audit import (
    asking_commands,
    care_commands,
    import_commands,
    ship_commands,
    upkeep_commands,
)
from sashizu_audit.asking_commands import FormatOption, ask
from sashizu_audit.options import (
    JsonOption,
    StoreOption,
    StoresOption,
    find_run,
    folder_of,
    folders_of,
    say_json,
    shown,
)
from sashizu_audit.proof_commands import Sending, VerifyCommand, checkpoint_record, verify_folders

__all__ = ["app"]

app = typer.Typer(
    help="Ask the record of what agents did.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def audit() -> None:
    """Ask the record of what agents did."""


@app.command()
def sql(
    ctx: typer.Context,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]",
            help="One SELECT over the views; without it, type them, or pipe a script in.",
        ),
    ] = None,
    fmt: FormatOption = "table",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The most rows.")] = 10_000,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds.")] = 30.0,
    store: StoresOption = None,
) -> None:
    r"""Run one SQL query over the record, or as many as you type.

    Without a query it asks for them at the terminal, where Tab completes and \? helps; what is
    piped in is a script, each statement with a semicolon behind it.

    Views: events, runs, agent_executions, agent_tree, model_calls, tool_calls, token_usage,
    security_events, budget_events, artifacts, writers, seq_gaps, checkpoints.
    """
    places = folders_of(ctx, store)
    if query is not None:
        ask(places, query, fmt, limit=limit, timeout_s=timeout)
        return
    from sashizu_audit.sql_session import run_session

    run_session(places, fmt, limit=limit, timeout_s=timeout)


RUNS = """
SELECT r.run_id, strftime(r.started, '%Y-%m-%d %H:%M:%S') AS started, r.status,
       count(a.agent_id) AS agents, sum(a.tokens) AS tokens,
       round(r.duration_ms / 1000, 1) AS seconds, r.project
FROM runs r LEFT JOIN agent_executions a USING (run_id)
GROUP BY ALL ORDER BY r.run_id DESC
"""


@app.command()
def runs(
    ctx: typer.Context,
    fmt: FormatOption = "table",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The most rows.")] = 20,
    store: StoresOption = None,
) -> None:
    """List the newest runs."""
    ask(folders_of(ctx, store), RUNS, fmt, limit=limit, note_more=False)


AGENTS = """
SELECT agent_name AS agent, status, model, steps, requests, tokens,
       round(duration_ms / 1000, 1) AS seconds
FROM agent_executions WHERE run_id = ? ORDER BY started
"""
STEPS = """
SELECT agent_name AS agent, step, kind, coalesce(tool, model) AS what,
       coalesce(decision, status) AS result, tokens, round(duration_ns / 1e6, 1) AS ms
FROM events
WHERE run_id = ? AND kind IN ('model.answered', 'model.failed', 'tool.decided', 'tool.ended',
                              'budget.refused', 'budget.overrun', 'security.denied')
ORDER BY ts_ns, seq
"""
COUNTED = """
SELECT coalesce(sum(CAST(json_extract(attrs, '$.artifact_count') AS BIGINT)), 0),
       coalesce(sum(json_array_length(attrs, '$.artifacts')), 0)
FROM events WHERE run_id = ? AND kind = 'agent.ended'
"""
FILES = "SELECT agent_name AS agent, path, bytes, sha256 FROM artifacts WHERE run_id = ?"


@app.command()
def show(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or 'last'.")
    ],
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="The most rows of each table.")
    ] = 10_000,
    as_json: JsonOption = False,
    store: StoresOption = None,
) -> None:
    """Show one run: its agents, what they did, and the files they made."""
    from sashizu_audit.store import AuditStore
    from sashizu_audit.tables import as_text

    asked = AuditStore(*folders_of(ctx, store))
    run_id = find_run(asked, run)
    parts = {
        title: asked.query(query, [run_id], limit=limit)
        for title, query in (("agents", AGENTS), ("steps", STEPS), ("artifacts", FILES))
    }
    made, recorded = asked.query(COUNTED, [run_id]).rows[0]
    if as_json:
        found = {title: rows.dicts() for title, rows in parts.items()}
        say_json({"run_id": run_id, **found, "artifact_count": int(made)}, typer.echo)
        return
    typer.echo(f"run {run_id}")
    for title, rows in parts.items():
        if rows.rows:
            typer.echo(f"\n{title}\n{as_text(rows, 'table')}")
    if made > recorded:
        typer.echo(f"({recorded} of {made} artifacts are on record by name)")


@app.command()
def tail(
    ctx: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as events are written.")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, metavar="N", help="How many to begin with.")
    ] = 10,
    run: Annotated[str, typer.Option(metavar="RUN", help="Only one run (beginning of id).")] = "",
    kind: Annotated[str, typer.Option(metavar="KIND", help="Only kinds that begin so.")] = "",
    store: StoresOption = None,
) -> None:
    """Print the newest events, one line of JSON each."""
    import orjson

    from sashizu_audit.tail import Tail, sleeping

    reader = Tail(*folders_of(ctx, store))
    wanted = _wanted(run, kind)
    for event in reader.newest(last, wanted):
        typer.echo(shown(orjson.dumps(event).decode()))
    if follow:
        for event in reader.follow(wanted, sleep=sleeping):
            typer.echo(shown(orjson.dumps(event).decode()))


@app.command(cls=VerifyCommand)
def verify(
    ctx: typer.Context,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY|FILE", help="The public key of checkpoints, or its file."),
    ] = None,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Checkpoints kept elsewhere; repeatable."),
    ] = None,
    fmt: Annotated[str, typer.Option("--format", metavar="text|json")] = "text",
    store: StoresOption = None,
) -> None:
    """Check that the record is what was written.

    Several records are checked one after the other, and the worst counts.

    Ends with 0 if it is, 1 if anything was changed or removed, 2 if a crash left half a line and
    nothing else is amiss, 3 if what would tell is missing, 64 if it was called wrongly.
    """
    code = verify_folders(folders_of(ctx, store), fmt, key, anchor or [], typer.echo)
    if code:
        raise typer.Exit(code)


@app.command()
def checkpoint(
    ctx: typer.Context,
    append: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the signed note to a file elsewhere."),
    ] = None,
    publish: Annotated[
        str,
        typer.Option(metavar="CMD", help="Run a command that reads the signed note on its stdin."),
    ] = "",
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Sign with a new key from now on.")
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Sign how far the record has come, and print the signed note.

    What a note covers cannot be changed unnoticed by who cannot change the note: keep it elsewhere.
    """

    def note(text: str) -> None:
        typer.echo(text, err=True)

    checkpoint_record(
        folder_of(ctx, store), Sending(append, publish, new_key, as_json), typer.echo, note
    )


@app.command()
def export(
    ctx: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the copy.")],
    fmt: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="copy: the files as they are, which can be verified; or for other programs: "
            "parquet, jsonl, csv, sqlite, duckdb, otlp, prometheus.",
        ),
    ] = "copy",
    run: Annotated[
        str,
        typer.Option(metavar="RUN", help="One run: its id, the beginning of it, or 'last'."),
    ] = "",
    store: StoreOption = None,
) -> None:
    """Copy the record, or one run of it, into a new folder, with a manifest of what was copied."""
    from sashizu_audit.export import FORMATS, export_record

    if fmt not in FORMATS:
        raise UsageError(
            f"unknown format {fmt!r}{nearest(fmt, FORMATS)}; known: {', '.join(FORMATS)}"
        )
    folder = folder_of(ctx, store)
    run_id = None
    if run:
        from sashizu_audit.store import AuditStore

        run_id = find_run(AuditStore(folder), run)
    manifest = export_record(folder, to, fmt, run_id=run_id)
    count = len(manifest["files"])
    typer.echo(f"{manifest['events']} events in {count} {'file' if count == 1 else 'files'}: {to}")


# --- what the commands share ----------------------------------------------------------------------


def _wanted(run: str, kind: str) -> Callable[[Mapping[str, Any]], bool]:
    def wanted(event: Mapping[str, Any]) -> bool:
        its_run, its_kind = str(event.get("run_id", "")), str(event.get("kind", ""))
        return its_run.startswith(run) and its_kind.startswith(kind)

    return wanted


asking_commands.add_to(app)
upkeep_commands.add_to(app)
care_commands.add_to(app)
import_commands.add_to(app)
ship_commands.add_to(app)
