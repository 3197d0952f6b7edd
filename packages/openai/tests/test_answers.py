"""Whatever a provider sends: an answer or a model error, nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ModelError
from sashizu_core.types import Usage
from sashizu_openai.api import Answer
from sashizu_openai.chat_answer import ChatAnswer
from sashizu_openai.faults import status_error
from sashizu_openai.responses_answer import ResponsesAnswer
from sashizu_openai.sse import Event
from sashizu_openai.usage import read_usage

KEYS = [
    "arguments",
    "call_id",
    "choices",
    "code",
    "content",
    "delta",
    "encrypted_content",
    "error",
    "finish_reason",
    "function",
    "id",
    "incomplete_details",
    "index",
    "item",
    "message",
    "name",
    "output",
    "output_index",
    "phase",
    "reason",
    "response",
    "status",
    "text",
    "tool_calls",
    "type",
    "usage",
]
WORDS = [
    "",
    "completed",
    "error",
    "failed",
    "function_call",
    "incomplete",
    "length",
    "message",
    "reasoning",
    "response.completed",
    "response.failed",
    "response.incomplete",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "stop",
    "tool_calls",
]
leaves = st.none() | st.booleans() | st.integers(-2, 10) | st.sampled_from(WORDS)
values = st.recursive(
    leaves,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=5)
    ),
    max_leaves=20,
)
tables = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)
items = st.builds(lambda kind, rest: {**rest, "type": kind}, st.sampled_from(WORDS), tables)
responses_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(WORDS),
        "response": st.fixed_dictionaries({"output": st.lists(items)}),
    },
    optional={"item": items, "output_index": leaves, "delta": leaves},
)
chat_events = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": tables, "finish_reason": leaves}))}
)
events = st.builds(
    Event,
    st.sampled_from(["", "error", *WORDS]),
    (values | responses_events | chat_events).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=20),
    whole=st.booleans(),
)


@pytest.mark.parametrize("kind", [ChatAnswer, ResponsesAnswer])
@given(sent=st.lists(events, max_size=5))
def test_any_events_give_an_answer_or_a_model_error(kind: type[Answer], sent: list[Event]) -> None:
    pieces: list[str] = []
    answer = kind({}, pieces.append, "here")
    failure = None
    try:
        for event in sent:
            answer.take(event)
        completion = answer.completion(ttft_ns=None)
    except ModelError as error:
        failure = error
    if failure is not None:
        assert failure.sent
        return
    assert completion.message.role == "assistant"
    assert bool(completion.message.tool_calls) == (completion.finish_reason == "tool_calls")
    json.dumps(completion.message.opaque)


@given(
    st.integers(300, 999),
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "date", "location"]),
        st.text(max_size=20) | st.floats().map(str),
    ),
    values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
)
def test_any_error_answer_is_a_model_error(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    error = status_error(status, headers, body, now=1.0)
    assert error.status == status
    assert error.retry_after_s is None or error.retry_after_s >= 0
    assert str(error).isprintable()
    assert len(str(error)) < 500


@given(values)
def test_usage_is_sound_or_none(raw: object) -> None:
    usage = read_usage(raw)
    assert usage is None or sound(usage)


counts = st.integers(0, 10**6)


@given(counts, counts, counts, counts, counts, counts)
def test_usage_never_contradicts_itself(
    read: int, written: int, total: int, cached: int, stored: int, reasoning: int
) -> None:
    usage = read_usage(
        {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": stored},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert usage is not None
    assert sound(usage)
    assert usage.tokens >= max(total, read + written)


def sound(usage: Usage) -> bool:
    return (
        usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
        and usage.reasoning_tokens <= usage.output_tokens
        and min(usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens) >= 0
    )
