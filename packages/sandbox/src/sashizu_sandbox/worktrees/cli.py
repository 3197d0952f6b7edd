"""The commands `merge` and `worktrees`: the only module here that prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import anyio
import typer
from sashizu_core.errors import UsageError, nearest

from sashizu_sandbox.worktrees.applying import apply_merged
from sashizu_sandbox.worktrees.cleaning import Kept, clean_run
from sashizu_sandbox.worktrees.git import Git, repository_of
from sashizu_sandbox.worktrees.keeping import keep
from sashizu_sandbox.worktrees.manifest import AgentEntry, Manifest, load_manifest, manifests
from sashizu_sandbox.worktrees.merge import Rejected, merge_changes

__all__ = ["merge_app", "worktrees_app"]

CONFLICTS = 1
MOST_LINES = 40
"""Lines of one file's conflicts that are shown."""

merge_app = typer.Typer(
    help="Merge what the agents of a run changed.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
worktrees_app = typer.Typer(
    help="List and remove worktrees.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The id of a run, its beginning, or 'last'.")
]


@merge_app.command()
def merge(
    run: Run,
    agents: Annotated[
        list[str] | None,
        typer.Option(
            "--agent", metavar="NAME", help="Only what this agent changed; repeatable, in order."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")
    ] = False,
) -> None:
    """Merge what the agents of a run changed into your working tree.

    All changes of an agent are written, or none of them. Index and branch stay as they are.
    """
    status = anyio.run(_merge, load_manifest(run), agents or [], dry_run)
    raise typer.Exit(status)


async def _merge(manifest: Manifest, names: Sequence[str], dry_run: bool) -> int:
    if manifest.active:
        raise UsageError(f"run {manifest.run_id} is still at work (process {manifest.pid})")
    git = await repository_of(manifest.workspace)
    await _conclude(git, manifest)
    entries = _chosen(manifest, names)
    if not entries:
        typer.echo("nothing to merge: no agent changed anything that is not merged yet")
        return 0
    merged = await merge_changes(git, manifest, entries)
    if not dry_run:
        await apply_merged(git, manifest, merged)
    for entry in merged.clean:
        did = "fits" if dry_run else "merged"
        typer.echo(f"{did}: {entry.agent} ({_count(entry.paths, 'file')})")
        for path in entry.paths:
            typer.echo(f"  {_plain(path)}")
    for rejected in merged.rejected:
        await _show_conflict(git, rejected)
    return CONFLICTS if merged.rejected else 0


async def _conclude(git: Git, manifest: Manifest) -> None:
    """Commit what an interrupted run left behind."""
    for entry in manifest.agents:
        if entry.state == "working" and entry.folder.is_dir():
            await keep(git, manifest, entry)
            manifest.save()


def _chosen(manifest: Manifest, names: Sequence[str]) -> list[AgentEntry]:
    """The entries to merge, in the order asked for; by default all, in that of the run.

    Raises:
        UsageError: no agent of the run has that name.
    """
    changed = [entry for entry in manifest.agents if entry.state == "changed"]
    known = {entry.agent for entry in manifest.agents} | {e.folder.name for e in manifest.agents}
    for name in names:
        if name not in known:
            raise UsageError(
                f"run {manifest.run_id} had no agent {name!r} with a worktree{nearest(name, known)}"
                f"; known: {', '.join(sorted(known)) or 'none'}"
            )
    if not names:
        return changed
    return [
        entry for name in names for entry in changed if name in (entry.agent, entry.folder.name)
    ]


async def _show_conflict(git: Git, rejected: Rejected) -> None:
    entry = rejected.entry
    count = _count(rejected.paths, "file")
    typer.echo(f"not merged: {entry.agent} ({count} in conflict, branch {entry.branch})", err=True)
    for line in rejected.messages.splitlines():
        typer.echo(f"  {_plain(line)}", err=True)
    for path in rejected.paths:
        text = await _sides(git, rejected.tree, path)
        if text:
            typer.echo(f"  {_plain(path)}:", err=True)
        for line in text:
            typer.echo(f"    {_plain(line)}", err=True)


async def _sides(git: Git, tree: str, path: str) -> list[str]:
    """The lines of a file that are in conflict, with both sides between git's marks."""
    if await git.object(f"{tree}:{path}") is None:
        return []
    content = await git.run("cat-file", "blob", f"{tree}:{path}")
    if b"\0" in content:
        return []
    lines, inside = [], False
    for line in content.decode("utf-8", "replace").splitlines():
        inside = inside or line.startswith("<<<<<<< ")
        if inside:
            lines.append(line)
        if line.startswith(">>>>>>> "):
            inside = False
    if len(lines) > MOST_LINES:
        return [*lines[:MOST_LINES], f"... {len(lines) - MOST_LINES} more lines"]
    return lines


@worktrees_app.command("list")
def list_() -> None:
    """List the worktrees of all runs."""
    found = False
    for manifest in manifests():
        for entry in manifest.agents:
            if entry.state == "removed":
                continue
            found = True
            state = "working" if manifest.active else _state(entry)
            typer.echo(f"{manifest.run_id}  {entry.folder.name}  {state}")
            typer.echo(f"  branch {entry.branch}")
            if entry.folder.is_dir():
                typer.echo(f"  folder {entry.folder}")
    if not found:
        typer.echo("no worktrees")


def _state(entry: AgentEntry) -> str:
    if entry.state == "working":
        return "interrupted"
    return f"{entry.state} ({_count(entry.paths, 'file')})" if entry.paths else entry.state


@worktrees_app.command()
def clean(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Only these runs; by default all that have ended."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also folders with files that no commit has."),
    ] = False,
) -> None:
    """Remove the folders of worktrees, and the branches that are merged.

    What an agent changed and nobody merged stays on its branch.
    """
    chosen = [load_manifest(run) for run in runs] if runs else list(manifests())
    freed, kept = 0, list[Kept]()
    for manifest in chosen:
        if manifest.active:
            if runs:
                raise UsageError(f"run {manifest.run_id} is still at work ({manifest.pid})")
            continue
        done = anyio.run(clean_run, manifest, everything)
        freed += done.removed
        kept += done.kept
    typer.echo(f"removed {freed} folder{'' if freed == 1 else 's'}")
    for each in kept:
        typer.echo(f"kept {each.what}: {each.why}")


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _plain(text: str) -> str:
    """Text for a terminal, without what would control it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
