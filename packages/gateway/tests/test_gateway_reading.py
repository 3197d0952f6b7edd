"""What is read of an answer, however it is cut into pieces."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.types import Usage
from sashizu_gateway.dialects.chat import ChatCompletions
from sashizu_gateway.dialects.found import Found, anthropic_usage, openai_usage
from sashizu_gateway.dialects.messages import Messages
from sashizu_gateway.dialects.responses import Responses
from sashizu_gateway.reading import LARGEST, StreamReader, WholeReader


def stream(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


RESPONSES = stream(
    {"type": "response.created", "response": {"usage": None}},
    {"type": "response.output_text.delta", "delta": "hällo "},
    {"type": "response.output_text.delta", "delta": 'say "usage" and response.completed'},
    {
        "type": "response.completed",
        "response": {
            "id": "r",
            "model": "m",
            "status": "completed",
            "output": [{"type": "function_call"}],
            "usage": {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 2},
                "total_tokens": 15,
            },
        },
    },
)
CHAT = stream(
    {"id": "c", "model": "m", "choices": [{"delta": {"content": "hällo"}, "finish_reason": None}]},
    {"id": "c", "model": "m", "choices": [{"delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}},
)
MESSAGES = stream(
    {
        "type": "message_start",
        "message": {
            "id": "m",
            "model": "m",
            "usage": {
                "input_tokens": 3,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 3,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hällo"}},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens"},
        "usage": {"output_tokens": 5},
    },
)
CASES = [
    pytest.param(Responses(), RESPONSES, Usage(10, 5, 4, 0, 2), "tool_calls", id="responses"),
    pytest.param(ChatCompletions(), CHAT, Usage(10, 5), "length", id="chat"),
    pytest.param(Messages(), MESSAGES, Usage(10, 5, 4, 3), "length", id="messages"),
]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize(("dialect", "data", "usage", "finish"), CASES)
@given(places=st.lists(st.integers(0, 5000), max_size=12), text=st.booleans())
def test_usage_is_found_wherever_a_stream_is_cut(dialect, data, usage, finish, places, text):
    found = Found()
    reader = StreamReader(dialect, found, text=text, hide=False)

    shown = b"".join([reader.feed(piece) for piece in cut(data, places)]) + reader.end()

    assert shown == data
    assert (found.usage, found.finish, found.ended) == (usage, finish, True)
    assert ("hällo" in found.text) is text


@given(places=st.lists(st.integers(0, 5000), max_size=12))
def test_hidden_events_are_gone_wherever_a_stream_is_cut(places):
    found = Found()
    reader = StreamReader(ChatCompletions(), found, text=False, hide=True)
    tail = b"data: [DONE]\n\n"

    pieces = [reader.feed(piece) for piece in cut(CHAT + tail, places)]
    shown = b"".join([*pieces, reader.end()])

    assert shown == CHAT[: CHAT.rindex(b"data: ")] + tail
    assert found.usage == Usage(10, 5)


@given(data=st.binary(max_size=400), hide=st.booleans(), places=st.lists(st.integers(0, 400)))
def test_whatever_a_service_says_passes_unchanged(data, hide, places):
    reader = StreamReader(ChatCompletions(), Found(), text=True, hide=hide)

    shown = b"".join([reader.feed(piece) for piece in cut(data, places)]) + reader.end()

    assert shown == data


def test_an_event_that_is_too_large_passes_unread():
    found = Found()
    reader = StreamReader(Responses(), found, text=False, hide=False)
    huge = b'data: {"type": "response.completed", "x": "' + b"a" * LARGEST

    assert reader.feed(huge) == huge
    reader.feed(b'"}\n\n')

    assert not found.ended


def test_an_endless_event_is_not_held_back_for_ever():
    reader = StreamReader(ChatCompletions(), Found(), text=False, hide=True)
    piece = b"a" * (LARGEST // 4)

    shown = [reader.feed(piece) for _ in range(6)]

    assert b"".join(shown) == piece * 6


def test_a_whole_answer_that_is_no_json_says_nothing():
    found = Found()
    reader = WholeReader(Responses(), found)

    assert reader.feed(b"<html>") == b"<html>"
    reader.end()

    assert not found.ended


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"input_tokens": 1},
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": True, "output_tokens": 1},
        {"input_tokens": "1", "output_tokens": 1},
        {"input_tokens": 1.5, "output_tokens": 1},
        {"input_tokens": 10**13, "output_tokens": 1},
    ],
)
def test_counts_that_make_no_sense_are_no_usage(raw):
    assert openai_usage(raw) is None
    assert anthropic_usage(raw) is None


def test_reasoning_that_is_only_in_the_total_counts():
    told = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}

    assert openai_usage(told) == Usage(10, 30)


def test_a_message_that_was_cut_off_has_no_bill():
    found = Found()
    reader = StreamReader(Messages(), found, text=False, hide=False)

    reader.feed(MESSAGES[: MESSAGES.index(b'data: {"type": "message_delta"')])
    reader.end()

    assert found.usage is not None
    assert not found.ended


def test_a_failure_in_the_middle_is_told():
    found = Found()
    reader = StreamReader(Messages(), found, text=False, hide=False)

    reader.feed(stream({"type": "error", "error": {"type": "overloaded", "message": "too busy"}}))

    assert found.failed == "too busy"
