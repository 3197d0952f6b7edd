"""The commands that ask the record without SQL: `query`, `tree`, `stats`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sashizu_core.errors import RecordError

from sashizu_audit.options import (
    JsonOption,
    StoresOption,
    find_run,
    folders_of,
    say_json,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sashizu_audit.jailed_store import JailedStore
    from sashizu_audit.rows import Rows
    from sashizu_audit.statistics import Statistics

__all__ = ["FormatOption", "add_to", "answer", "ask", "width_of_terminal"]

FormatOption = Annotated[
    str, typer.Option("--format", metavar="table|json|csv|md", help="How rows are printed.")
]


def add_to(app: typer.Typer) -> None:
    """Give these commands to the command `audit`."""
    app.command()(query)
    app.command()(tree)
    app.command()(stats)


def ask(
    places: list[Path],
    sql: str,
    fmt: str,
    *,
    params: Sequence[object] | Mapping[str, object] = (),
    note_more: bool = True,
    limit: int,
    timeout_s: float = 30.0,
) -> None:
    """Run a query, record that it was run, and print what it gave.

    Raises:
        UsageError: it is no query over our views, or there is no such format.
    """
    from dataclasses import replace

    from sashizu_audit.conversation import check_format
    from sashizu_audit.jailed_store import JailedStore
    from sashizu_audit.tables import as_text

    check_format(fmt)
    with JailedStore(*places) as store:
        rows = answer(places, store, sql, params, limit=limit, timeout_s=timeout_s)
    if not note_more:
        rows = replace(rows, truncated=False)
    typer.echo(shown(as_text(rows, fmt, width=width_of_terminal())))  # type: ignore[arg-type]


def answer(
    places: list[Path],
    store: JailedStore,
    sql: str,
    params: Sequence[object] | Mapping[str, object] = (),
    *,
    limit: int,
    timeout_s: float,
) -> Rows:
    """Run a query over the records in these places, and record that it was run.

    Raises:
        UsageError: it is no query over our views, or took too long.
    """
    rows = store.query(sql, params, limit=limit, timeout_s=timeout_s)
    _record(places, sql, len(rows.rows))
    return rows


def width_of_terminal() -> int | None:
    """How many characters fit side by side; None where nobody looks at a terminal."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _record(places: list[Path], sql: str, count: int) -> None:
    """Record who asked what; a record that cannot be written can still be read."""
    from sashizu_audit.asking import record_query

    for place in places:
        try:
            record_query(place, sql, count)
        except RecordError as error:
            typer.echo(f"sashizu: warning: this query is not on record: {error}", err=True)


def query(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Which; without it, list all.")
    ] = "",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter; repeatable."),
    ] = None,
    show_sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL, and ask nothing.")
    ] = False,
    fmt: FormatOption = "table",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The most rows.")] = 10_000,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds.")] = 30.0,
    store: StoresOption = None,
) -> None:
    """Ask a question that is asked often; without a name, list them."""
    from sashizu_audit.canned import find_canned

    if not name:
        _list_canned(fmt)
        return
    canned = find_canned(name)
    if show_sql:
        typer.echo(canned.sql)
        return
    places = folders_of(ctx, store)
    values = canned.values(param or [], lambda text: _run_of(places, text))
    ask(places, canned.sql, fmt, params=values, limit=limit, timeout_s=timeout)


def _run_of(places: list[Path], text: str) -> str:
    from sashizu_audit.store import AuditStore

    return find_run(AuditStore(*places), text)


def _list_canned(fmt: str) -> None:
    from sashizu_audit.canned import all_canned

    if fmt == "json":
        say_json(all_canned(), typer.echo)
        return
    for canned in all_canned():
        typer.echo(f"{canned.name:<15} {canned.summary}")
        for one in canned.parameters:
            default = f" (default: {one.default})" if one.default else ""
            typer.echo(f"{'':<15}   {one.name}: {one.summary}{default}")


def tree(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or 'last'.")
    ],
    as_json: JsonOption = False,
    store: StoresOption = None,
) -> None:
    """Show the agents of a run as a tree, with what each cost."""
    from sashizu_audit.store import AuditStore
    from sashizu_audit.trees import run_tree, tree_lines

    asked = AuditStore(*folders_of(ctx, store))
    run_id = find_run(asked, run)
    roots = run_tree(asked, run_id)
    if as_json:
        say_json({"run_id": run_id, "agents": roots}, typer.echo)
        return
    typer.echo(f"run {run_id}")
    for line in tree_lines(roots):
        typer.echo(line)


def stats(ctx: typer.Context, as_json: JsonOption = False, store: StoresOption = None) -> None:
    """Say what the record holds, in numbers."""
    from sashizu_audit.statistics import statistics_of

    found = [statistics_of(folder) for folder in folders_of(ctx, store)]
    if as_json:
        say_json(found[0] if len(found) == 1 else found, typer.echo)
        return
    for one in found:
        for line in _stats_lines(one):
            typer.echo(line)


def _stats_lines(found: Statistics) -> list[str]:
    room = found.bytes
    parts = ", ".join(f"{size} {name}" for name, size in asdict(room).items())
    kinds = ", ".join(f"{count} {kind}" for kind, count in list(found.kinds.items())[:5])
    return [
        f"record    {found.store_id}",
        f"events    {found.events}, from {found.first or 'never'} to {found.last or 'never'}",
        f"kinds     {kinds}",
        f"runs      {found.runs} with {found.agents} agents, written by {found.writers} writers",
        f"billed    {found.tokens} tokens, {found.usd:.4f} USD",
        f"declared  {found.declared_tokens} tokens",
        f"segments  {found.segments_hot} hot, {found.segments_sealed} sealed",
        f"tables    {found.tables}",
        f"dropped   {found.pruned_events} events",
        f"bytes     {room.total}: {parts}",
    ]
