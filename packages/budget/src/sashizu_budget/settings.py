"""The settings table `[budget]`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from sashizu_core.settings import Settings, Table

from sashizu_budget.prices import PriceEntry, PriceList

__all__ = ["BudgetSettings", "price_list"]


class BudgetSettings(Table):
    """`prices` maps the full name of a model to its price."""

    prices: Mapping[str, PriceEntry] = Field(default_factory=dict)


def price_list(settings: Settings) -> PriceList:
    """The price list under these settings.

    Raises:
        ConfigError: `[budget]` is wrong.
    """
    own = settings.plugin("budget", BudgetSettings).prices
    return PriceList({name: entry.price(source="settings") for name, entry in own.items()})
