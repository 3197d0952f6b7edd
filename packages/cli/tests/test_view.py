import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_cli.plain import cells
from sashizu_cli.view import RunView, count_text, elapsed_text
from sashizu_core.events import Event


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def view(expected: int = 2, limit: int | None = None) -> tuple[RunView, Clock]:
    clock = Clock()
    return RunView(clock, expected=expected, limit=limit), clock


def event(kind: str, agent: str = "a", **fields: object) -> Event:
    return Event(kind, {"agent_id": f"id-{agent}", "agent_name": agent, **fields})


def lines(shown: RunView, width: int = 100, height: int = 24) -> list[str]:
    return [line for line, _ in shown.lines(width, height)]


def test_a_row_shows_step_tool_tokens_of_the_limit_as_a_bar_and_the_time():
    shown, clock = view(limit=None)
    shown.take([event("agent.started", budget_limit=10_000)])
    shown.take([event("model.requested", step=0), event("model.answered", tokens=2_500)])
    shown.take([event("tool.requested", step=1, tool="read_file")])
    clock.now = 65.4

    line = lines(shown)[0]

    assert line.startswith("a step 2 read_file")
    assert line.endswith("███░░░░░░░ 2.5k/10.0k tokens  1:05")


def test_an_agent_is_shown_against_the_smaller_of_its_own_limit_and_the_runs():
    shown, _ = view(limit=60_000)
    shown.take([event("agent.started", budget_limit=400_000)])

    assert "0/60.0k tokens" in lines(shown)[0]


def test_the_total_counts_tokens_of_all_against_the_limit_of_the_run():
    shown, _ = view(expected=3)
    shown.take([Event("run.started", {"budget_limit": 60_000})])
    for name, tokens in (("a", 1_000), ("b", 500)):
        shown.take([event("agent.started", name), event("model.answered", name, tokens=tokens)])
    shown.take([event("agent.ended", "a", status="ok"), event("agent.ended", "b", status="error")])

    total = lines(shown)[-1]

    assert total.startswith("2 of 3 done, 1 not ok")
    assert "1.5k/60.0k tokens" in total


@pytest.mark.parametrize(
    ("kind", "fields", "state"),
    [
        ("model.requested", {}, "thinking"),
        ("model.failed", {"error_type": "rate_limited"}, "retrying (rate_limited)"),
        ("tool.requested", {"tool": "grep"}, "grep"),
        ("budget.degraded", {"attrs": {"how": "warned"}}, "wrapping up"),
        ("budget.degraded", {"attrs": {"how": "fallback"}, "model": "x/y"}, "on x/y"),
        ("budget.degraded", {"attrs": {"how": "returned"}, "model": "x/y"}, "starting"),
        ("agent.ended", {"status": "ok"}, "done"),
        ("agent.ended", {"status": "timeout"}, "deadline"),
        ("agent.ended", {"status": "error", "error_type": "budget"}, "budget"),
        ("agent.ended", {"status": "cancelled"}, "cancelled"),
    ],
)
def test_each_event_shows_as_a_state(kind, fields, state):
    shown, _ = view()
    shown.take([event("agent.started"), event(kind, **fields)])

    assert shown.rows["id-a"].state == state


def test_what_a_sibling_left_raises_the_limit_that_is_shown():
    shown, _ = view()
    shown.take([event("agent.started", budget_limit=100)])
    shown.take([event("budget.rebalanced", budget_unit="requests", budget_limit=9)])
    assert shown.rows["id-a"].limit == 100
    shown.take([event("budget.rebalanced", budget_unit="tokens", budget_limit=150)])
    assert shown.rows["id-a"].limit == 150


def test_a_call_in_doubt_counts_with_what_the_ledger_booked():
    shown, _ = view()
    shown.take(
        [event("agent.started"), event("model.failed"), event("budget.settled", budget_spent=900)]
    )
    assert shown.tokens == 900

    shown.take([event("model.answered", tokens=50), event("budget.settled", budget_spent=50)])
    assert shown.tokens == 950


def test_streamed_text_shows_that_the_model_is_answering():
    shown, _ = view()
    shown.take([event("agent.started")])

    shown.hear("id-a", "Hel")
    shown.hear("id-unknown", "lo")

    assert [row.state for row in shown.rows.values()] == ["answering"]


def test_the_last_line_of_a_running_tool_is_shown_beside_it():
    shown, _ = view()
    shown.take([event("agent.started"), event("tool.requested", tool="shell", step=1)])

    for line in ("collected 3 items", "test_a.py ..."):
        shown.hear_line("id-a", line)
    shown.hear_line("id-unknown", "lost")

    assert [row.state for row in shown.rows.values()] == ["shell: test_a.py ..."]


def test_the_clock_of_an_agent_stops_when_it_has_ended():
    shown, clock = view()
    shown.take([event("agent.started")])
    clock.now = 5
    shown.take([event("agent.ended", status="ok")])
    clock.now = 100

    assert lines(shown)[0].endswith("0:05")


def test_the_same_agent_twice_is_two_rows_that_can_be_told_apart():
    shown, _ = view()
    for number in (1, 2):
        shown.take([Event("agent.started", {"agent_id": f"i{number}", "agent_name": "twin"})])

    assert [row.name for row in shown.rows.values()] == ["twin", "twin #2"]


def test_with_more_agents_than_lines_those_at_work_are_shown_and_the_others_counted():
    shown, _ = view(expected=50)
    for number in range(50):
        shown.take([event("agent.started", f"agent{number:02}")])
    for number in range(48):
        shown.take([event("agent.ended", f"agent{number:02}", status="ok")])

    found = lines(shown, height=10)

    assert len(found) <= 10
    assert found[0].startswith("agent48")
    assert "… and 43 more" in found


@given(
    st.integers(20, 200),
    st.text(min_size=1, max_size=60),
    st.text(max_size=60),
    st.integers(0, 10**12),
    st.sampled_from([None, 1, 60_000]),
)
def test_no_line_is_wider_than_the_terminal_nor_holds_control_characters(
    width, name, tool, tokens, limit
):
    shown, _ = view(limit=limit)
    shown.take([event("agent.started", name), event("model.answered", name, tokens=tokens)])
    shown.take([event("tool.requested", name, step=4, tool=tool)])

    for line in lines(shown, width):
        assert cells(line) <= max(width, 30)
        assert not {unicodedata.category(char) for char in line} & {"Cc", "Cs", "Zl", "Zp"}


def test_40_columns_still_tell_who_does_what_and_how_much():
    shown, clock = view(limit=60_000)
    shown.take(
        [
            event("agent.started", "code-reviewer"),
            event("model.answered", "code-reviewer", tokens=12_345),
        ]
    )
    shown.take([event("tool.requested", "code-reviewer", step=3, tool="codebase_search")])
    clock.now = 14

    row, total = lines(shown, 40)

    assert row == "code-reviewer codeba…  12.3k/60.0k  0:14"
    assert total == "0 of 2 done            12.3k/60.0k  0:14"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1_000, "1.0k"), (60_000, "60.0k"), (123_456, "123k"),
     (4_500_000, "4.5M"), (10**12, "1000G")],
)  # fmt: skip
def test_counts_are_short(number, text):
    assert count_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0:00"), (65, "1:05"), (3_600, "1:00:00"), (37_245, "10:20:45")]
)
def test_times_are_minutes_and_seconds(seconds, text):
    assert elapsed_text(seconds) == text


def test_agents_that_an_agent_started_stand_below_it() -> None:
    view = RunView(lambda: 0.0, 2)
    started = [("1", "lead", {}), ("2", "other", {})]
    started.append(("3", "helper", {"depth": 1, "parent_agent_id": "1"}))
    started.append(("4", "deep", {"depth": 2, "parent_agent_id": "3"}))
    for agent_id, name, more in started:
        view.take([Event("agent.started", {"agent_id": agent_id, "agent_name": name, **more})])
    lines = [line for line, _ in view.lines(80, 20)]
    assert [line.split("starting")[0].rstrip() for line in lines[:-1]] == [
        "lead",
        "  helper",
        "    deep",
        "other",
    ]
