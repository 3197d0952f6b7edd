from __future__ import annotations

from pathlib import Path
from timeit import repeat

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import Amount, Limits

NOT_HELD = (Busy, Refused)


@pytest.mark.bench
def test_a_hold_in_a_tree_of_three_levels_takes_a_few_microseconds(tmp_path: Path) -> None:
    run = Ledger(spend=tmp_path / "none").root("run", Limits(tokens=10**12, nusd=10**15))
    share = run.open("agent", Limits(tokens=10**12)).open("share", Limits(requests=10**9))
    asked, billed = Amount(1000, 5000, 1), Amount(400, 2000, 1)

    def step() -> None:
        hold = share.reserve(asked)
        assert not isinstance(hold, NOT_HELD)
        hold.settle(billed)

    number = 10_000
    best_us = min(repeat(step, number=number, repeat=7)) / number * 1e6
    print(f"reserve and settle, three levels: {best_us:.2f} µs")
    assert best_us < 20


@pytest.mark.bench
def test_below_windows_a_hold_takes_a_few_microseconds(tmp_path: Path) -> None:
    spend = tmp_path / "spend.sqlite"
    Windows(SpendFile(spend), str(tmp_path)).set("day", Limits(tokens=10**12, nusd=10**15))
    run = Ledger(spend=spend, project=tmp_path).root("run", Limits(tokens=10**12))
    asked, billed = Amount(1000, 5000, 1), Amount(400, 2000, 1)

    def step() -> None:
        hold = run.reserve(asked)
        assert not isinstance(hold, NOT_HELD)
        hold.settle(billed)

    number = 10_000
    best_us = min(repeat(step, number=number, repeat=15)) / number * 1e6
    print(f"reserve and settle, below windows: {best_us:.2f} µs, {1e6 / best_us:,.0f} a second")
    assert best_us < 20
    run.close()
