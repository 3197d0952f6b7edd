"""The bound of a request, from its bytes and from what came before."""

import json
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.bounds import Overhead, text_bound
from sashizu_core.types import Usage
from sashizu_gateway.bounding import MOST_GROWTH, MOST_REMEMBERED, Prefixes, measured
from sashizu_gateway.dialects.dialect import Rules
from sashizu_gateway.dialects.responses import Responses

DIALECT = Responses()
RULES = Rules()
texts = st.text(max_size=60)
items = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts}),
    min_size=1,
    max_size=8,
)


def measure(body, prefixes=None, overhead=None):
    known = prefixes if prefixes is not None else Prefixes()
    return measured(body, DIALECT, RULES, overhead or Overhead(), known, upstream="u")


def body_of(conversation, **more):
    return {"model": "m", "input": conversation, **more}


@given(conversation=items, instructions=texts)
def test_the_bound_holds_every_text_of_the_request(conversation, instructions):
    found = measure(body_of(conversation, instructions=instructions))

    assert found.rule == "text of everything"
    said = sum(text_bound(item["content"]) for item in conversation)
    assert found.input_tokens >= said + text_bound(instructions)


@given(conversation=items, more=items, billed=st.integers(0, 10_000), thought=st.integers(0, 500))
def test_what_goes_on_from_a_billed_request_costs_the_bill_and_the_text_added(
    conversation, more, billed, thought
):
    prefixes = Prefixes()
    first = measure(body_of(conversation), prefixes)
    prefixes.remember(first.mark, Usage(billed, thought, reasoning_tokens=thought))

    found = measure(body_of([*conversation, *more]), prefixes)

    assert found.rule == "previous call + text added"
    assert found.fresh == len(more)
    added = sum(text_bound(item["content"]) for item in more)
    assert found.input_tokens >= billed + thought + added


@given(conversation=items, other=texts, at=st.integers(0, 7))
def test_a_request_that_changes_what_was_billed_is_bounded_anew(conversation, other, at):
    prefixes = Prefixes()
    first = measure(body_of(conversation), prefixes)
    prefixes.remember(first.mark, Usage(1, 1))
    changed = [dict(item) for item in conversation]
    changed[at % len(changed)]["content"] += other + "!"

    assert measure(body_of(changed), prefixes).rule == "text of everything"


def test_the_longest_billed_beginning_counts():
    prefixes = Prefixes()
    conversation = [{"role": "user", "content": f"text {number}"} for number in range(5)]
    for length, billed in ((1, 10), (3, 30)):
        prefixes.remember(measure(body_of(conversation[:length])).mark, Usage(billed, 0))

    found = measure(body_of(conversation), prefixes)

    assert found.fresh == 2
    assert 30 < found.input_tokens < 30 + 200


def test_bills_of_old_are_forgotten():
    prefixes = Prefixes()
    marks = [measure(body_of([str(number)])).mark for number in range(MOST_REMEMBERED + 50)]
    for mark in marks:
        prefixes.remember(mark, Usage(1, 1))

    assert measure(body_of(["0"]), prefixes).rule == "text of everything"
    newest = measure(body_of([str(MOST_REMEMBERED + 49)]), prefixes)
    assert newest.rule == "previous call + text added"


@pytest.mark.parametrize("key", sorted(DIALECT.untold - {"stream"}))
def test_what_is_not_told_to_the_model_breaks_no_conversation(key):
    prefixes = Prefixes()
    first = measure(body_of(["a"], **{key: 1}), prefixes)
    prefixes.remember(first.mark, Usage(1, 1))

    assert measure(body_of(["a", "b"], **{key: 2}), prefixes).rule == "previous call + text added"


def test_items_do_not_run_into_each_other():
    assert measure(body_of(["ab", "c"])).mark != measure(body_of(["a", "bc"])).mark
    assert measure(body_of(["a", "b"])).mark != measure(body_of(["ab"])).mark


def test_tools_in_groups_have_an_overhead_too():
    inner = [{"type": "function", "name": f"f{number}"} for number in range(10)]
    flat = measure(body_of(["x"], tools=inner)).input_tokens
    grouped = measure(body_of(["x"], tools=[{"type": "namespace", "tools": inner}])).input_tokens

    assert grouped - flat >= 64


def test_a_bound_of_ordinary_text_is_its_length():
    body = body_of([{"role": "user", "content": "x" * 10_000}])

    assert measure(body).input_tokens < len(json.dumps(body)) + 200


def test_no_form_of_a_character_is_longer_than_large_texts_are_taken_for():
    for point in range(0x110000):
        if not 0xD800 <= point <= 0xDFFF:
            char = chr(point)
            assert text_bound(char) <= MOST_GROWTH * len(char.encode())


def test_a_large_text_in_other_letters_is_bounded_without_being_written_anew():
    text = "\ufdfa" * 700_000

    began = process_time()
    tokens = measure(body_of([text])).input_tokens

    assert process_time() - began < 1
    assert tokens >= text_bound(text[:1000]) * 700
