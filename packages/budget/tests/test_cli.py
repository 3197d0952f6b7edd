from __future__ import annotations

import json
from pathlib import Path

import pytest
from sashizu_budget.cli import app
from sashizu_core.errors import UsageError
from sashizu_core.settings import Settings
from typer.testing import CliRunner


class Session:
    """What the command line passes to a command."""

    def __init__(self, **tables: object) -> None:
        self.settings = Settings({"budget": tables})


def lines_of(*words: str, **tables: object) -> list[str]:
    result = CliRunner().invoke(app, ["prices", *words], obj=Session(**tables))
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_the_list_shows_input_cached_output_source_and_date() -> None:
    unit, _, heading, *rows = lines_of("openai/gpt-5")
    assert unit == "USD per million tokens"
    assert heading.split() == ["model", "input", "cached", "output", "source", "date"]
    [row] = [row.split() for row in rows if row.startswith("openai/gpt-5 ")]
    assert row[:4] == ["openai/gpt-5", "1.25", "0.125", "10.00"]
    assert row[4].startswith("https://")
    assert len(row[5]) == len("2026-11-20")


def test_a_long_context_has_a_line_of_its_own() -> None:
    rows = lines_of("gemini-2.5-pro")[3:]
    assert rows[0].split()[:4] == ["google/gemini-2.5-pro", "1.25", "0.125", "10.00"]
    assert rows[1].split() == ["above", "200,000", "input", "tokens", "2.50", "0.25", "15.00"]


def test_all_words_have_to_be_in_the_name() -> None:
    names = {row.split()[0] for row in lines_of("OPENAI", "mini")[3:]}
    assert "openai/gpt-4o-mini" in names
    assert all(name.startswith("openai/") and "mini" in name for name in names)


def test_a_rate_that_does_not_exist_is_a_dash() -> None:
    assert "-" in lines_of("openai/o1-pro")[3].split()


def test_own_prices_are_listed_as_such() -> None:
    prices = {"mine/model": {"input": 0.0005, "output": 2}}
    [row] = lines_of("mine", prices=prices)[3:]
    assert row.split() == ["mine/model", "0.001", "-", "2.00", "settings"]


def test_nothing_found_says_where_to_write_a_price() -> None:
    result = CliRunner().invoke(app, ["prices", "no-such-model"], obj=Session())
    assert isinstance(result.exception, UsageError)
    assert "budget.prices" in str(result.exception)


def test_a_misspelt_name_gets_the_nearest() -> None:
    result = CliRunner().invoke(app, ["prices", "opnai/gpt-5"], obj=Session())
    assert "did you mean 'openai/gpt-5" in str(result.exception)


def test_json_has_everything() -> None:
    result = CliRunner().invoke(app, ["prices", "--json"], obj=Session())
    listed = json.loads(result.output)
    assert listed["openai/gpt-5"]["input"] == 1250
    assert listed["google/gemini-2.5-pro"]["long_context_from"] == 200_000
    assert {"source", "date"} <= set(listed["openai/gpt-5"])


def test_on_its_own_it_reads_the_settings_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["prices", "gpt-5"])
    assert result.exit_code == 0
    assert "openai/gpt-5" in result.output
