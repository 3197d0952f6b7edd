"""The flags that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from sashizu_core.errors import UsageError

__all__ = [
    "Approve",
    "AsJson",
    "Budgets",
    "ConfirmAbove",
    "Conversation",
    "Deadline",
    "Executor",
    "Goal",
    "Goals",
    "Isolation",
    "Jobs",
    "Labels",
    "Model",
    "NoAudit",
    "Out",
    "Plan",
    "Rebalance",
    "Scope",
    "Scopes",
    "Yes",
    "complete_models",
]


def _filled(param: typer.CallbackParam, value: Any) -> Any:
    """Refuse an empty word: an unset variable of a shell must not mean the default."""
    if "" in (value if isinstance(value, list | tuple) else [value]):
        raise UsageError(f"{param.opts[-1]} is empty")
    return value


def complete_models(ctx: typer.Context, incomplete: str) -> list[str]:
    from sashizu_cli.session import session_of

    names = session_of(ctx).registry.models
    return [name for name in names if name.startswith(incomplete)]


Goal = Annotated[
    str | None,
    typer.Option("-g", "--goal", metavar="TEXT", help="What to do; '-' reads it from stdin."),
]
Goals = Annotated[
    list[str] | None,
    typer.Option(
        "-g",
        "--goal",
        metavar="TEXT",
        help="What to do; '-' reads it from stdin. Repeat it to give each agent its own.",
    ),
]
Scope = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="PATH",
        callback=_filled,
        help="A file or folder to look at; repeatable.",
    ),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="PATH",
        callback=_filled,
        help="A file or folder to look at. Repeat it to give each agent its own.",
    ),
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="LIMIT",
        help="What the whole run may use: 60000 (tokens), 2.5usd, 40requests, 15m; "
        "AGENT=LIMIT bounds one agent. Repeatable.",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option("--deadline", metavar="TIME", help="When to stop: 90s, 15m, 2h."),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="How many agents work at once."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        callback=_filled,
        autocompletion=complete_models,
        help="The model to use, such as openai/gpt-5.",
    ),
]
Conversation = Annotated[
    str | None,
    typer.Option(
        "--continue",
        metavar="ID",
        callback=_filled,
        help="Go on with a conversation: its id, the beginning of it, or 'last'.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="Write the report as JSON."),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Events as JSON lines on stdout, all else on stderr."),
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        callback=_filled,
        help="Who runs the agents: 'local', this process, or 'cluster', the workers of [cluster].",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="A,B",
        callback=_filled,
        help="What a worker has to have, such as gpu:cuda:24g,model:NAME.",
    ),
]
Isolation = Annotated[
    str | None,
    typer.Option(
        "--isolation",
        metavar="auto|none|worktree|process",
        help="worktree: each agent changes files in a git worktree of its own; process: each works "
        "in a process of its own; none: neither. "
        "auto leaves it to the definitions, and gives one to those that write side by side.",
    ),
]
Approve = Annotated[
    str | None,
    typer.Option(
        "--approve",
        metavar="HOW",
        help="Who answers where a rule says ask: 'ask' you, 'never' (deny), or a FILE of rules "
        "outside the repository. Without it you are asked on a terminal, nobody elsewhere.",
    ),
]
Plan = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="First print agents, models, tools and what the run costs at most, and ask once; "
        "without a terminal and --yes nothing is run.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Answer yes where it is asked whether to run.")]
ConfirmAbove = Annotated[
    str | None,
    typer.Option(
        "--confirm-above",
        metavar="LIMIT",
        callback=_filled,
        help="Ask first if the run may cost more than this: 1usd, 200k, 15m.",
    ),
]
Rebalance = Annotated[
    bool,
    typer.Option(
        "--rebalance",
        help="What agents leave of limits of their own goes to those that ask for more.",
    ),
]
NoAudit = Annotated[
    bool,
    typer.Option("--no-audit", help="Run without a durable record."),
]
