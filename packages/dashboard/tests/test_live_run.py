"""What is known of a run at work, from its events, its state and its record."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.control import RunInfo
from sashizu_dashboard.happened import happened
from sashizu_dashboard.live_run import LiveRun
from sashizu_dashboard.markup import rendered
from sashizu_dashboard.shown import Agent, Call, Proof, Refusal, Run, Shown
from sashizu_dashboard.timeline import timeline_of

S = 1_000_000_000
RUN = "01a1fe0a-09d5-7329-860a-2f7d5d59d9f0"


def live() -> LiveRun:
    return LiveRun(RunInfo(RUN, ["a"], "/work/shop", 1, 1.0))


def heard(run: LiveRun, *events: dict[str, Any]) -> LiveRun:
    """Events arrive one second after the other, from the second second on."""
    for number, event in enumerate(events, 2):
        run.take({"agent_id": "1", "agent_name": "a", **event}, number * S)
    return run


MODEL = [
    {"kind": "agent.started", "model": "m", "attrs": {"limits": {"tokens": 50}}},
    {"kind": "model.requested", "step": 0, "model": "m"},
    {"kind": "model.answered", "step": 0, "status": "ok", "duration_ns": S, "tokens": 7,
     "cost_nusd": 3},
]  # fmt: skip


def test_a_call_that_goes_on_lasts_until_now():
    shown = heard(live(), *MODEL[:2]).shown(9 * S)

    assert [(call.status, call.duration_ns) for call in shown.calls] == [("running", 6 * S)]
    assert shown.agents[0].status == "working"
    assert shown.until_ns == 9 * S
    assert timeline_of(shown).ticks[-1].after_ns == 8 * S


def test_a_call_that_ended_counts_for_its_agent():
    (agent,) = heard(live(), *MODEL).agents

    assert (agent.tokens, agent.nusd, agent.requests) == (7, 3, 1)
    assert agent.limits == {"tokens": 50}


def test_the_state_of_agents_and_budget_is_the_runs_own_word():
    run = heard(live(), *MODEL)

    run.asked(
        {
            "agent_states": [
                {"agent": "a", "agent_id": "1", "state": "waiting", "tokens": 9, "limit": 40},
                {"agent": "b", "agent_id": "2", "parent_agent_id": "1", "depth": 1, "tokens": 4},
            ],
            "budget": {
                "limits": {"tokens": 100},
                "spent": {"tokens": 13, "nusd": 5, "requests": 2},
                "held": {"tokens": 20},
            },
            "questions": [{"id": "1", "shown": [["tool", "shell"], ["why"], 7]}],
        },
        9 * S,
    )

    assert [(one.name, one.level, one.tokens) for one in run.agents] == [("a", 0, 9), ("b", 1, 4)]
    assert run.agents[0].all_tokens == 13
    assert (run.run.tokens, run.run.held, run.run.limits) == (13, {"tokens": 20}, {"tokens": 100})
    assert [(one.id, one.shown) for one in run.questions] == [("1", (("tool", "shell"),))]


def test_asking_again_without_news_changes_nothing():
    run, state = live(), {"agent_states": [{"agent": "a", "agent_id": "1", "state": "working"}]}
    run.asked(state, 9 * S)
    before = run.version

    run.asked(state, 9 * S)

    assert run.version == before


def test_an_agent_of_whose_end_only_the_run_tells_has_ended():
    run = heard(live(), *MODEL)

    run.asked({"agent_states": [{"agent": "a", "agent_id": "1", "state": "error"}]}, 9 * S)

    assert (run.working, run.agents[0].status, run.agents[0].ended_ns) == (0, "error", 9 * S)


def test_refusals_and_answers_of_people_are_told_and_other_decisions_not():
    run = heard(
        live(),
        {"kind": "tool.decided", "decision": "allow", "decided_by": "rule", "tool": "x"},
        {"kind": "tool.decided", "decision": "allow", "decided_by": "user", "tool": "y"},
        {"kind": "tool.decided", "decision": "deny", "decision_rule": "deny z", "tool": "z"},
        {"kind": "budget.refused", "budget_held": 9, "budget_unit": "tokens", "attrs": {"left": 1}},
    )

    refusals = run.shown(9 * S).refusals
    assert [one.what for one in refusals] == ["y", "z", "tokens"]
    assert refusals[-1].why == "asked for 9 tokens, left 1"


def test_files_are_known_when_their_agent_has_ended():
    made = {"path": "out/a", "sha256": "f", "bytes": 3}
    run = heard(
        live(), *MODEL, {"kind": "agent.ended", "status": "ok", "attrs": {"artifacts": [made]}}
    )

    shown = run.shown(9 * S)
    assert [(one.agent, one.path, one.size) for one in shown.artifacts] == [("a", "out/a", 3)]
    assert (shown.agents[0].status, shown.agents[0].ended_ns, run.working) == ("ok", 5 * S, 0)


def recorded(*, answered: bool) -> Shown:
    """What is on record at the fourth second, when the call has ended or has not."""
    run = Run(RUN, "shop", "user:x", "unfinished", S, None, {"tokens": 100}, 7, 3, 1)
    ended = S if answered else None
    tokens = 7 if answered else 0
    agent = Agent("1", "", "a", "m", "unfinished", "", 2 * S, None, {"tokens": 50}, tokens, 3, 1)
    calls = (
        Call("1", "a", "model", "m", 0, 3 * S, ended, "ok" if answered else "no result", tokens),
    )
    refusal = Refusal(S, "a", "tool.decided", "old", "deny", "rule", "why")
    return Shown(run, (agent,), calls, (refusal,), (), Proof(1, 0, 0))


def test_what_is_on_record_of_before_comes_first_and_nothing_counts_twice():
    run = heard(live(), *MODEL)
    before = run.shown(6 * S)

    run.begin_with(recorded(answered=True), 5 * S)

    shown = run.shown(6 * S)
    assert shown.calls == before.calls
    assert shown.agents[0].all_tokens == 7
    assert [one.what for one in shown.refusals] == ["old"]
    assert (shown.run.actor, shown.run.status) == ("user:x", "running")
    assert run.whole


def test_a_call_that_is_open_on_record_ends_with_what_is_heard():
    run = live()
    run.begin_with(recorded(answered=False), 5 * S)
    heard(run, *MODEL[2:])

    (call,) = run.shown(9 * S).calls
    assert (call.status, call.tokens) == ("ok", 7)
    assert run.agents[0].tokens == 7


def test_of_very_many_calls_the_newest_are_kept_and_those_that_go_on(monkeypatch):
    monkeypatch.setattr("sashizu_dashboard.live_run.MOST_CALLS", 3)
    run = heard(live(), {"kind": "tool.requested", "step": 0, "tool": "slow"})

    for step in range(1, 9):
        heard(
            run,
            {"kind": "tool.requested", "step": step, "tool": "t"},
            {"kind": "tool.ended", "step": step, "status": "ok", "duration_ns": 1},
        )
    heard(run, {"kind": "tool.ended", "step": 0, "status": "ok", "duration_ns": S})

    shown = run.shown(9 * S)
    assert [call.step for call in shown.calls] == [6, 7, 8]
    assert shown.cut == ("calls",)


def test_a_run_that_died_leaves_nothing_at_work():
    run = heard(live(), *MODEL[:2])
    run.over(RunInfo(RUN, ["a"], "/work/shop", 1, 1.0, status="lost"))

    shown = run.shown(9 * S)
    assert (shown.run.status, shown.until_ns) == ("lost", None)
    assert [call.status for call in shown.calls] == ["no result"]
    assert [agent.status for agent in shown.agents] == ["unfinished"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
KINDS = ["run.started", "agent.started", "agent.ended", "model.requested", "model.answered"]
KINDS += ["tool.requested", "tool.decided", "tool.ended", "budget.refused", "budget.settled"]
NAMES = ["agent_id", "agent_name", "step", "status", "tokens", "attrs", "duration_ns"]
EVENTS = st.fixed_dictionaries(
    {"kind": st.sampled_from(KINDS) | VALUES}, optional=dict.fromkeys(NAMES, VALUES)
)
TOLD = ["agent", "agent_id", "depth", "id", "limit", "shown", "state", "tokens"]
STATES = st.fixed_dictionaries(
    {},
    optional={
        "agent_states": st.lists(st.dictionaries(st.sampled_from(TOLD), VALUES)) | VALUES,
        "budget": st.dictionaries(st.sampled_from(["limits", "spent", "held"]), VALUES) | VALUES,
        "questions": st.lists(st.dictionaries(st.sampled_from(TOLD), VALUES)) | VALUES,
    },
)


@given(st.lists(EVENTS, max_size=6), STATES)
def test_whatever_a_socket_tells_can_be_shown(events, state):
    run = live()
    for number, event in enumerate(events):
        run.take(event, number)
        happened(number, RUN, number, event).plain()
    run.asked(state, 9 * S)

    shown = run.shown(9 * S)

    assert rendered("run.html", shown=shown, run=shown.run, line=timeline_of(shown))
