import io
import json

import anyio
import pytest
from rich.console import Console
from sashizu_cli import render
from sashizu_cli.live import JsonLines, LiveDisplay, PlainLines
from sashizu_cli.view import RunView
from sashizu_core.events import Event


def event(kind: str, agent: str = "alpha", **fields: object) -> Event:
    return Event(kind, {"agent_id": agent, "agent_name": agent, **fields})


def terminal(width: int = 80, encoding: str = "utf-8") -> tuple[Console, io.TextIOWrapper]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(
        file=stream, force_terminal=True, width=width, height=10, highlight=False, markup=False
    )
    return console, stream


def shown(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode(stream.encoding)


def view() -> RunView:
    return RunView(lambda: 0.0, expected=2)


async def test_the_live_display_shows_a_line_per_agent_and_goes_away():
    console, stream = terminal()
    display = LiveDisplay(view(), console)

    with display.shown():
        display.write([event("agent.started"), event("agent.started", "beta")])
        display.write([event("tool.requested", tool="grep", step=0)])
        with anyio.move_on_after(0.01):
            await display.keep_fresh()
        during = shown(stream)
    after = shown(stream)[len(during) :]

    assert "alpha step 1 grep" in during
    assert "beta" in during
    assert "0 of 2 done" in during
    assert "\x1b[?25l" in during  # the cursor is hidden ...
    assert "\x1b[?25h" in after  # ... and comes back
    assert "\x1b[2K" in after  # the lines are erased


def test_hostile_names_reach_the_terminal_neither_as_control_characters_nor_as_markup():
    console, stream = terminal()
    display = LiveDisplay(view(), console)
    display.write([event("agent.started", "a\x1b]0;title\x07[red]b[/red]")])

    console.print(display.picture())

    assert "a\\x1b]0;t" in shown(stream)
    assert "\x1b]0;" not in shown(stream)
    assert "\x07" not in shown(stream)


def test_a_terminal_without_unicode_gets_a_bar_it_can_draw():
    console, stream = terminal(encoding="ascii")
    display = LiveDisplay(RunView(lambda: 0.0, expected=1, limit=100), console)
    display.write([event("agent.started"), event("model.answered", tokens=50)])

    console.print(display.picture())

    assert "#####-----" in shown(stream)


def test_plain_lines_tell_of_begin_denial_and_end(capfd):
    sink = PlainLines(view())
    sink.write([event("agent.started"), event("model.answered", tokens=1_500)])
    sink.write([event("security.denied", tool="write_file", decision_reason="no grant\nallows it")])
    sink.write([event("agent.ended", status="ok")])

    assert capfd.readouterr().err.splitlines() == [
        "sashizu: alpha: started",
        "sashizu: alpha: denied write_file: no grant allows it",
        "sashizu: alpha: done (1.5k tokens, 0:00)",
    ]


def near(told: str) -> Event:
    attrs = {"how": "window", "told": told}
    return Event("budget.degraded", {"budget_unit": "tokens", "attrs": attrs})


def test_plain_lines_tell_of_a_window_that_is_nearly_used_up_and_of_no_agent(capfd):
    shown = view()
    PlainLines(shown).write([near("day 2026-11-21: 5 of 10 tokens left")])

    told = "sashizu: nearly used up: day 2026-11-21: 5 of 10 tokens left\n"
    assert capfd.readouterr().err == told
    assert shown.rows == {}


async def test_the_live_display_leaves_a_window_that_is_nearly_used_up_on_the_screen():
    console, stream = terminal(encoding="ascii")
    display = LiveDisplay(view(), console)

    with display.shown():
        display.write([near("project /a[red]b…\x1b[2J: 5 of 10 tokens left")])
        with anyio.move_on_after(0.01):
            await display.keep_fresh()

    lines = [line for line in shown(stream).splitlines() if "nearly" in line]
    assert len(lines) == 1
    assert "sashizu: nearly used up: project /a[red]b.\\x1b[2J: 5 of 10 tokens left" in lines[0]


def test_plain_lines_tell_what_happens_as_a_budget_runs_low(capfd):
    def degraded(model: str = "", **attrs: str) -> Event:
        return event("budget.degraded", model=model, attrs=attrs)

    def given(unit: str, amount: int) -> Event:
        left = {"from": "beta", "amount": amount}
        return event("budget.rebalanced", budget_unit=unit, budget_limit=9, attrs=left)

    PlainLines(view()).write(
        [
            degraded(how="warned"),
            degraded("m/small", how="fallback", why="budget"),
            degraded("m/big", how="returned"),
            degraded("m/small", how="fallback", why="provider", fault="quota"),
            given("tokens", 1_200),
            given("nusd", 20_000_000),
        ]
    )
    assert capfd.readouterr().err.splitlines() == [
        "sashizu: alpha: close to its limit, wrapping up",
        "sashizu: alpha: close to its limit, going on with m/small",
        "sashizu: alpha: its fallback does not fit, going on with m/big",
        "sashizu: alpha: its model failed (quota), going on with m/small",
        "sashizu: alpha: got 1,200 tokens that beta left",
        "sashizu: alpha: got 0.0200 USD that beta left",
    ]


def test_events_become_json_lines_with_number_and_time():
    lines: list[str] = []
    sink = JsonLines(lines.append, clock_ns=lambda: 7)

    sink.write([event("agent.started", attrs={"x": 1}), event("agent.ended", status="ok")])

    assert [json.loads(line) for line in lines] == [
        {"seq": 1, "ts_ns": 7, "kind": "agent.started", "agent_id": "alpha",
         "agent_name": "alpha", "attrs": {"x": 1}},
        {"seq": 2, "ts_ns": 7, "kind": "agent.ended", "agent_id": "alpha",
         "agent_name": "alpha", "status": "ok"},
    ]  # fmt: skip


@pytest.mark.parametrize("variable", ["TERM"])
def test_only_a_terminal_that_can_move_its_cursor_gets_a_live_display(monkeypatch, variable):
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv(variable, "xterm")
    assert render.terminal(Tty()) is not None
    assert render.terminal(io.StringIO()) is None
    monkeypatch.setenv(variable, "dumb")
    assert render.terminal(Tty()) is None


def test_no_color_is_honoured(monkeypatch):
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Tty()
    monkeypatch.setattr("sys.stdout", stream)

    render.line("done", style="bold red")
    render.markdown("# title\n\n**bold** [here](https://elsewhere.example)")

    assert "done" in stream.getvalue()
    assert "\x1b[31" not in stream.getvalue()
    assert "\x1b]8;" not in stream.getvalue()  # a link would hide where it leads
    assert "https://elsewhere.example" in stream.getvalue()


def test_a_display_that_nobody_can_see_stops_nothing(monkeypatch):
    lost: list[str] = []

    def full(_text: str) -> None:
        raise BrokenPipeError

    lines = JsonLines(full, lost=lambda: lost.append("gone"))
    lines.write([event("agent.started")])
    lines.write([event("agent.ended")])
    assert lost == ["gone"]

    display = PlainLines(view())
    monkeypatch.setattr(render, "note", full)
    display.write([event("agent.started")])
    display.write([event("agent.ended", status="ok")])


def test_a_service_that_asks_to_wait_is_told_of(capsys):
    display = PlainLines(view())
    attrs = {"http_status": 429, "retry_after_s": 40.0}
    display.write([event("model.failed", error_type="rate_limited", attrs=attrs)])
    assert "alpha: rate limited, asked to wait 0:40" in capsys.readouterr().err


def test_lines_of_json_hold_no_half_characters():
    written: list[str] = []
    JsonLines(written.append).write([event("agent.started", project="w\udcff")])
    assert json.loads(written[0])["project"] == "w?"
    written[0].encode("ascii")
