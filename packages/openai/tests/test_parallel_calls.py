"""Tool calls that are made at once are told apart, whatever a service leaves out or repeats."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_openai.chat_answer import ChatAnswer
from sashizu_openai.sse import Event


def entry(name=None, arguments=None, **fields):
    function = {"name": name, "arguments": arguments}
    return {**fields, "function": {key: v for key, v in function.items() if v is not None}}


def calls(*deltas):
    """What is made of the tool calls of so many deltas: names and arguments."""
    answer = ChatAnswer({}, None, "")
    for delta in deltas:
        choice = {"index": 0, "delta": {"tool_calls": list(delta)}}
        answer.take(Event("", json.dumps({"choices": [choice]}).encode()))
    end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    answer.take(Event("", json.dumps({"choices": [end]}).encode()))
    made = answer.completion(ttft_ns=None).message.tool_calls
    assert len({call.id for call in made}) == len(made)
    return [(call.name, call.arguments) for call in made]


X, Y = '{"path":"x"}', '{"path":"y"}'


@pytest.mark.parametrize("fields", [{}, {"index": 0}, {"index": 0, "id": ""}, {"id": ""}])
@pytest.mark.parametrize("together", [True, False], ids=["one delta", "several deltas"])
@pytest.mark.parametrize(
    "wanted",
    [
        [("list_files", "{}"), ("read_file", X)],
        [("read_file", X), ("read_file", Y)],
        [("read_file", X), ("read_file", X), ("list_files", "{}")],
    ],
    ids=["two tools", "one tool twice", "the same call twice"],
)
def test_whole_calls_without_ids_are_several_calls(fields, together, wanted) -> None:
    entries = [entry(name, arguments, **fields) for name, arguments in wanted]
    assert calls(*([entries] if together else [[one] for one in entries])) == wanted


@pytest.mark.parametrize("fields", [{}, {"index": 0}])
def test_calls_without_ids_that_come_in_pieces_are_several_calls(fields) -> None:
    pieces = [
        entry("read_file", "", **fields),
        entry(None, X[:5], **fields),
        entry(None, X[5:], **fields),
        entry("read_file", "", **fields),
        entry(None, Y, **fields),
        entry("list_files", **fields),
    ]
    assert calls(*([piece] for piece in pieces)) == [
        ("read_file", X),
        ("read_file", Y),
        ("list_files", "{}"),
    ]


def test_a_name_that_is_repeated_with_every_piece_is_one_call() -> None:
    pieces = [entry("read_file", part, index=0) for part in ("", X[:4], X[4:], "")]
    assert calls(*([piece] for piece in pieces)) == [("read_file", X)]


def test_dictionaries_as_arguments_are_several_calls() -> None:
    entries = [entry("read_file", {"path": "x"}), entry("list_files", {})]
    assert calls(entries) == [("read_file", '{"path":"x"}'), ("list_files", "{}")]


def test_pieces_without_an_index_belong_to_the_call_before_them() -> None:
    first = [entry("list_files", "{}"), entry("read_file", X[:3])]
    assert calls(first, [entry(None, X[3:])]) == [("list_files", "{}"), ("read_file", X)]


def test_an_id_that_is_repeated_with_a_name_is_one_call() -> None:
    pieces = [entry("read_file", part, index=0, id="a") for part in (X, "")]
    assert calls(*([piece] for piece in pieces)) == [("read_file", X)]


arguments = st.dictionaries(st.sampled_from(["a", "path"]), st.text(max_size=3) | st.integers())


@given(st.lists(st.tuples(st.sampled_from(["f", "g"]), arguments), min_size=1), st.data())
def test_calls_are_put_together_wherever_they_are_cut(wanted, data) -> None:
    deltas = []
    for index, (name, given_arguments) in enumerate(wanted):
        text = json.dumps(given_arguments)
        cut = data.draw(st.integers(0, len(text)))
        deltas.append([entry(name, text[:cut], index=index, id=f"c{index}")])
        deltas.append([entry(None, text[cut:], index=index)])
    assert calls(*deltas) == [(name, json.dumps(made)) for name, made in wanted]
