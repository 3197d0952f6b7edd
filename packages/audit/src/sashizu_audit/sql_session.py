"""`audit sql` without a query: a prompt where somebody sits, a script where text is piped in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.home import state_home

from sashizu_audit.asking_commands import answer, width_of_terminal
from sashizu_audit.conversation import Conversation, Left
from sashizu_audit.jailed_store import JailedStore
from sashizu_audit.options import find_run, shown
from sashizu_audit.rows import Rows
from sashizu_audit.statements import split_statements
from sashizu_audit.vocabulary import HISTORY

__all__ = ["run_session"]


def run_session(places: list[Path], fmt: str, *, limit: int, timeout_s: float) -> None:
    """Answer what is typed or piped in, until it ends. Blocks.

    Raises:
        SashizuError: a statement of a script cannot be answered; those behind it are not asked.
    """
    with JailedStore(*places) as store:

        def ask(sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> Rows:
            return answer(places, store, sql, params, limit=limit, timeout_s=timeout_s)

        def run_id(text: str) -> str:
            return find_run(store, text)

        def say(text: str) -> None:
            typer.echo(shown(text))

        _converse(Conversation(ask, say, store.columns(), run_id, width_of_terminal, fmt))


def _converse(conversation: Conversation) -> None:
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        _prompt(conversation)
    else:
        _run_script(conversation)


def _prompt(conversation: Conversation) -> None:
    from sashizu_audit.canned import all_canned
    from sashizu_audit.prompt import converse, open_history
    from sashizu_audit.vocabulary import Vocabulary

    def complain(text: str) -> None:
        typer.echo(f"sashizu: error: {text}", err=True)

    views = {view: [name for name, _ in columns] for view, columns in conversation.views.items()}
    vocabulary = Vocabulary(views, [canned.name for canned in all_canned()])
    typer.echo(r"SQL over the record; a semicolon ends a statement, \? helps, \q or Ctrl-D leaves.")
    converse(conversation, vocabulary, open_history(state_home() / HISTORY, complain), complain)


def _run_script(conversation: Conversation) -> None:
    script = split_statements(_piped_in())
    statements = [*script.statements, script.rest]
    for number, statement in enumerate(statements, 1):
        try:
            conversation.take(statement)
        except Left:
            return
        except SashizuError as error:
            if len(script.statements) > 1:
                error.args = (f"statement {number}: {error}", *error.args[1:])
            raise


def _piped_in() -> str:
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("there is nothing to ask: give a query, or pipe a script in")
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the script is no UTF-8: {error}") from error
