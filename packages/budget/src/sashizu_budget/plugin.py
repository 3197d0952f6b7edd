"""What sashizu-budget offers: the ledger of a process, and the command `budget`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from sashizu_core.hookspecs import hookimpl
from sashizu_core.protocols import Budget
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec, CommandSpec

__all__ = ["provide_budget", "register_commands"]


@hookimpl
def provide_budget(settings: Settings) -> BudgetSpec:
    """The hierarchical ledger, with the prices of the settings."""
    from sashizu_budget.settings import price_list

    prices = price_list(settings)

    @asynccontextmanager
    async def open_() -> AsyncGenerator[Budget]:
        from sashizu_budget.ledger import Ledger

        ledger = Ledger(prices)
        try:
            yield ledger
        finally:
            ledger.close()

    return BudgetSpec("ledger", "one budget for the whole tree of agents, in this process", open_)


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [
        CommandSpec("budget", "Show, limit and report what is spent.", "sashizu_budget.cli:app")
    ]
