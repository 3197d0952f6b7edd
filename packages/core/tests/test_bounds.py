from __future__ import annotations

import unicodedata
from dataclasses import replace
from json import dumps

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.bounds import MOST_BYTES_PER_CHARACTER, Overhead, bound_of, text_bound
from sashizu_core.types import (
    Message,
    ModelRequest,
    PreviousCall,
    ToolCall,
    ToolSchema,
    Usage,
)

any_text = st.text(st.characters(), max_size=40)
tools = st.builds(
    ToolSchema,
    name=any_text,
    description=any_text,
    parameters=st.dictionaries(any_text, any_text, max_size=3),
)
calls = st.builds(ToolCall, id=any_text, name=any_text, arguments=any_text)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=any_text,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=any_text,
)


def bytes_in(text: str, form: str) -> int:
    if form != "raw":
        text = unicodedata.normalize(form, text)
    return len(text.encode("utf-8", "surrogatepass"))


@given(any_text, st.sampled_from(["raw", "NFC", "NFKC"]))
def test_a_text_has_at_least_as_many_tokens_as_bytes_in_any_form(text: str, form: str) -> None:
    assert text_bound(text) >= bytes_in(text, form)


@given(any_text)
def test_the_bound_of_a_text_is_one_of_its_forms(text: str) -> None:
    assert text_bound(text) in {bytes_in(text, form) for form in ("raw", "NFC", "NFKC")}


def test_a_ligature_is_bounded_by_what_it_is_normalised_to() -> None:
    assert len("\ufdfa".encode()) == 3
    assert text_bound("\ufdfa") == 33


def test_decomposed_text_is_bounded_by_its_raw_form() -> None:
    text = "e\u0301" * 10
    assert text_bound(text) == 30


def test_half_of_a_surrogate_pair_has_a_bound() -> None:
    assert text_bound("\ud800") == 3


def test_a_first_call_is_bounded_by_all_of_its_text() -> None:
    tool = ToolSchema("look", "Look.", {"type": "object"})
    schema = {"type": "string"}
    request = ModelRequest(
        (
            Message("system", "abc"),
            Message("assistant", "", (ToolCall("id1", "look", "{}"),)),
            Message("tool", "found", tool_call_id="id1"),
        ),
        tools=(tool,),
        output_schema=schema,
    )
    bound = bound_of(request, Overhead(1024, 16, 64), output_cap=500)
    text = len("abc") + len("id1look{}") + len("foundid1")
    text += len("lookLook.") + len(dumps(tool.parameters)) + len(dumps(schema))
    assert bound.input_tokens == 1024 + 3 * 16 + 64 + text
    assert (bound.output_tokens, bound.rule) == (500, "text of everything")
    assert bound.tokens == bound.input_tokens + 500


def test_what_a_provider_wants_back_counts_and_the_brief_does_not() -> None:
    plain = ModelRequest((Message("assistant", "x"),))
    opaque = ModelRequest(
        (Message("assistant", "x", opaque={"maker": "blob" * 100, "sashizu": "y" * 9999}),)
    )
    more = (
        bound_of(opaque, Overhead(), output_cap=1).input_tokens
        - bound_of(plain, Overhead(), output_cap=1).input_tokens
    )
    assert more == len(dumps("blob" * 100))


@given(st.lists(messages, min_size=1, max_size=4), messages, st.lists(tools, max_size=2))
def test_more_text_never_has_a_smaller_bound(
    some: list[Message], one_more: Message, offered: list[ToolSchema]
) -> None:
    request = ModelRequest(tuple(some))
    small = bound_of(request, Overhead(), output_cap=10)
    longer = bound_of(replace(request, messages=(*some, one_more)), Overhead(), output_cap=10)
    armed = bound_of(replace(request, tools=tuple(offered)), Overhead(), output_cap=10)
    assert longer.input_tokens > small.input_tokens
    assert armed.input_tokens >= small.input_tokens


# --- the call before ------------------------------------------------------------------------------

FIRST = (Message("system", "s" * 5000), Message("user", "u" * 5000))
ADDED = (Message("assistant", "answer"), Message("user", "next"))
TOOLS = (ToolSchema("look", "Look.", {"type": "object"}),)
SCHEMA = {"type": "object"}
BILL = Usage(input_tokens=2500, output_tokens=90, reasoning_tokens=80)
PREVIOUS = PreviousCall(FIRST, TOOLS, SCHEMA, "low", BILL)
SECOND = ModelRequest(
    (*FIRST, *ADDED), tools=TOOLS, output_schema=SCHEMA, effort="low", previous=PREVIOUS
)


def test_a_later_call_is_bounded_by_the_bill_before_and_the_text_added() -> None:
    bound = bound_of(SECOND, Overhead(1024, 16, 64), output_cap=10)
    assert bound.input_tokens == 2500 + 80 + 1024 + 2 * 16 + len("answer") + len("next")
    assert bound.rule == "previous call + text added"


@pytest.mark.parametrize(
    "changed",
    [
        replace(SECOND, tools=()),
        replace(SECOND, tools=(replace(TOOLS[0], description="Look well."),)),
        replace(SECOND, output_schema=None),
        replace(SECOND, output_schema={"type": "string"}),
        replace(SECOND, effort="high"),
        replace(SECOND, messages=(FIRST[0], *ADDED)),
        replace(SECOND, messages=(*ADDED, *FIRST)),
        replace(SECOND, messages=(FIRST[0],)),
        # The same words, but another message: its encoding may differ.
        replace(SECOND, messages=(FIRST[0], replace(FIRST[1]), *ADDED)),
        replace(SECOND, previous=None),
    ],
)
def test_a_call_that_does_not_begin_as_the_one_before_is_bounded_by_its_text(
    changed: ModelRequest,
) -> None:
    assert bound_of(changed, Overhead(), output_cap=10).rule == "text of everything"


def test_equal_tools_that_were_built_anew_still_qualify() -> None:
    rebuilt = replace(SECOND, tools=(ToolSchema("look", "Look.", {"type": "object"}),))
    assert bound_of(rebuilt, Overhead(), output_cap=10).rule == "previous call + text added"


def test_the_context_window_is_a_bound_as_well() -> None:
    bound = bound_of(SECOND, Overhead(), output_cap=10, context_window=1000)
    assert (bound.input_tokens, bound.rule) == (1000, "context window")
    wide = bound_of(SECOND, Overhead(), output_cap=10, context_window=10**6)
    assert wide.rule == "previous call + text added"


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [SECOND, replace(SECOND, previous=None)])
def test_an_excess_raises_the_bound_of_every_later_call(request_: ModelRequest) -> None:
    overhead = Overhead()
    before = bound_of(request_, overhead, output_cap=10)
    overhead.learn(before.input_tokens, before.input_tokens + 300)
    assert bound_of(request_, overhead, output_cap=10).input_tokens == before.input_tokens + 300


def test_a_bill_below_its_bound_changes_nothing() -> None:
    overhead = Overhead()
    overhead.learn(5000, 4999)
    assert overhead == Overhead()


@given(st.data())
def test_no_call_of_a_conversation_is_billed_more_than_its_bound(data: st.DataObject) -> None:
    """A provider that normalises, cuts the bytes as it likes and wraps every message."""
    overhead = Overhead(per_request=20, per_message=8, per_tool=10)
    form = data.draw(st.sampled_from(["raw", "NFC", "NFKC"]))
    billed: dict[int, int] = {}

    def tokens_of(message: Message) -> int:
        if id(message) not in billed:
            size = bytes_in(message.content, form)
            billed[id(message)] = data.draw(st.integers(0, size)) + data.draw(st.integers(0, 8))
        return billed[id(message)]

    said = [Message("system", data.draw(any_text))]
    previous: PreviousCall | None = None
    wrapping = data.draw(st.integers(0, 20))
    for _ in range(4):
        said.append(Message("user", data.draw(any_text)))
        request = ModelRequest(tuple(said), previous=previous)
        bound = bound_of(request, overhead, output_cap=1000)
        bill = wrapping + sum(tokens_of(message) for message in said)
        assert bill <= bound.input_tokens
        previous = PreviousCall(request.messages, (), None, None, Usage(bill, 5))
        said.append(Message("assistant", data.draw(any_text)))


def test_no_character_has_more_bytes_in_any_form_than_is_assumed() -> None:
    assert max(text_bound(chr(code)) for code in range(0x110000)) <= MOST_BYTES_PER_CHARACTER
