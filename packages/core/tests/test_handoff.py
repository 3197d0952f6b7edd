"""What travels to a child in another process, and what does not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import UsageError
from sashizu_core.grants import Grants, Rule
from sashizu_core.handoff import (
    Handoff,
    Leased,
    LeasingBudget,
    Received,
    _read,
    _written,
    hand_off,
)
from sashizu_core.ids import AgentId, RunId
from sashizu_core.protocols import Budget, BudgetNode, Busy, Refused
from sashizu_core.types import Amount, BudgetState, Limits

LEASE = "0123456789abcdef" * 2
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"

names = st.frozensets(st.text("abc/*", min_size=1, max_size=4), max_size=3)
texts = st.lists(st.text(max_size=5), max_size=3).map(tuple)
rules = st.builds(
    Rule,
    st.sampled_from(["deny", "ask"]),
    st.sampled_from(["read", "write", "exec", "spawn"]),
    st.text(max_size=5),
    st.text(max_size=5),
    st.text(max_size=5),
)
grants = st.builds(
    Grants,
    tools=st.none() | names,
    fs_read=texts,
    fs_write=texts,
    net=texts,
    exec=texts,
    spawn=names,
    source=st.text(max_size=5),
    rules=st.lists(rules, max_size=2).map(tuple),
    devices=names,
)


def handoff(**more: object) -> Handoff:
    fields: dict[str, object] = {
        "run_id": RunId("run"),
        "agent_id": AgentId("child"),
        "parent_agent_id": AgentId("parent"),
        "depth": 2,
        "ceiling": (Grants(fs_read=("src",), tools=frozenset({"grep"})),),
        "deadline": 1234.5,
        "traceparent": TRACE,
        "depth_left": 3,
        "audit_parent": {"writer_id": "w", "folder": "/f"},
        **more,
    }
    return Handoff(**fields)  # type: ignore[arg-type]


class GivenRow:
    lease_id = LEASE

    def settle(self) -> Amount:
        return Amount()


class OneRow:
    """A ledger with one lease, whose row says less than the child would like."""

    def __init__(self, answer: Busy | Refused | None = None) -> None:
        self.answer = answer
        self.terms = ""
        self.redeemed: list[str] = []

    def lease(
        self,
        node: BudgetNode,
        name: str,
        limits: Limits,
        *,
        depth: int = 0,
        expires_at: float | None = None,
        terms: str = "",
    ) -> GivenRow | Busy | Refused:
        self.terms = terms
        return self.answer or GivenRow()

    def redeem(self, lease_id: str) -> Leased:
        self.redeemed.append(lease_id)
        return Leased(NODE, self.terms, 1, 99.0)


class Node:
    node_id = "n"
    name = "run"

    def state(self) -> BudgetState:
        raise AssertionError


NODE: BudgetNode = Node()  # type: ignore[assignment]


class Ledger(OneRow):
    """`OneRow` with the rest of a ledger, none of which a handoff needs."""

    root = price_of = quote = bill = shrink = lambda *_: None


def received(env: Mapping[str, str], ledger: Ledger) -> Received:
    found = Handoff.from_env(env, ledger)  # type: ignore[arg-type]
    assert found is not None
    return found


@given(st.lists(grants, max_size=3).map(tuple))
def test_a_handoff_reads_as_it_was_written(ceiling: tuple[Grants, ...]) -> None:
    sent = handoff(ceiling=ceiling)
    assert _read(_written(sent)) == sent


def test_only_the_lease_and_the_trace_travel_through_the_environment() -> None:
    sent = handoff(lease_id=LEASE)
    assert sent.to_env() == {"SASHIZU_LEASE": LEASE, "TRACEPARENT": TRACE}
    assert sent.to_meta() == {"sashizu/lease": LEASE, "traceparent": TRACE}
    assert LEASE not in repr(sent)


@pytest.mark.parametrize("way", ["env", "meta"])
def test_what_arrives_is_what_the_row_says(way: str) -> None:
    ledger = Ledger()
    assert isinstance(ledger, LeasingBudget)
    sent = hand_off(handoff(), ledger, NODE, "child", Limits(tokens=5))  # type: ignore[arg-type]
    assert not isinstance(sent, Busy | Refused)
    given, _lease = sent
    if way == "env":
        got = received(given.to_env(), ledger)
    else:
        found = Handoff.from_meta(given.to_meta(), ledger)  # type: ignore[arg-type]
        assert found is not None
        got = found
    assert got.node is NODE
    assert got.handoff.ceiling == handoff().ceiling
    assert got.handoff.run_id == "run"
    assert got.handoff.audit_parent == {"writer_id": "w", "folder": "/f"}
    # Depth and end are the row's, whatever the giver had written.
    assert (got.handoff.depth_left, got.handoff.deadline) == (1, 99.0)


def test_a_trace_that_went_on_in_between_is_kept() -> None:
    ledger = Ledger()
    ledger.terms = _written(handoff())
    later = TRACE.replace("2", "3")
    assert received({"SASHIZU_LEASE": LEASE, "TRACEPARENT": later}, ledger).handoff.traceparent == (
        later
    )
    assert received({"SASHIZU_LEASE": LEASE}, ledger).handoff.traceparent == TRACE


def test_without_a_lease_nothing_is_handed_over() -> None:
    assert Handoff.from_env({"TRACEPARENT": TRACE}, None) is None
    assert Handoff.from_meta({"traceparent": TRACE, "progressToken": 3}, None) is None
    with pytest.raises(UsageError, match="needs a lease"):
        handoff().to_env()


@pytest.mark.parametrize("text", ["x", LEASE.upper(), LEASE + "0", "../" + LEASE[3:], LEASE + "\n"])
def test_what_is_no_lease_is_refused_and_not_looked_up(text: str) -> None:
    ledger = Ledger()
    with pytest.raises(UsageError, match="32 hexadecimal") as caught:
        Handoff.from_env({"SASHIZU_LEASE": text}, ledger)  # type: ignore[arg-type]
    assert ledger.redeemed == []
    assert text not in str(caught.value) or len(text) == 1


@pytest.mark.parametrize("value", [7, None, ["a"], {"a": 1}])
def test_a_meta_value_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        Handoff.from_meta({"sashizu/lease": value}, None)


def test_a_lease_without_a_ledger_is_refused_with_the_packages_name() -> None:
    with pytest.raises(UsageError, match="sashizu-budget"):
        Handoff.from_env({"SASHIZU_LEASE": LEASE}, None)
    with pytest.raises(UsageError, match="sashizu-budget"):
        hand_off(handoff(), None, None, "child", Limits())


def test_a_share_that_does_not_fit_hands_nothing_over() -> None:
    refused = Refused("run", "tokens", 5, 1)
    ledger: Budget = Ledger(refused)  # type: ignore[assignment]
    assert hand_off(handoff(), ledger, NODE, "child", Limits(tokens=5)) is refused


@pytest.mark.parametrize("terms", ["", "[]", "{}", '{"ceiling": [{}]}', "null"])
def test_terms_of_another_version_are_refused(terms: str) -> None:
    ledger = Ledger()
    ledger.terms = terms
    with pytest.raises(UsageError, match="version"):
        received({"SASHIZU_LEASE": LEASE}, ledger)
