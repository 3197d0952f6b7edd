"""Each message is encoded once."""

import gc
import json

from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.types import Message, ToolCall, ToolSchema
from sashizu_openai.encodings import Encodings, ToolEncodings, dump_json
from sashizu_openai.names import own_names, unique_ids, wire_name


def test_a_message_is_encoded_once_whatever_conversation_it_is_in() -> None:
    encoded: list[str] = []

    def encode(message: Message) -> bytes:
        encoded.append(message.content)
        return message.content.encode()

    encodings = Encodings(encode)
    first, second, third = (Message("user", text) for text in "abc")
    assert encodings.join((first, second)) == b"a,b"
    assert encodings.join((first, second, third)) == b"a,b,c"
    assert encodings.join((third, first)) == b"c,a"
    assert encoded == ["a", "b", "c"]


def test_equal_messages_are_different_messages() -> None:
    encodings = Encodings(lambda message: b"x")
    encodings.join((Message("user", "a"), Message("user", "a")))
    assert len(encodings) == 0, "both are gone"


def test_an_encoding_goes_with_its_message() -> None:
    encodings = Encodings(lambda message: message.content.encode())
    kept = Message("user", "kept")
    for number in range(100):
        assert encodings.join((kept, Message("user", str(number)))) == b"kept,%d" % number
    gc.collect()
    assert len(encodings) == 1


def test_messages_without_an_encoding_leave_no_gap() -> None:
    encodings = Encodings(lambda message: message.content.encode())
    messages = [Message("assistant", text) for text in ("", "a", "", "b", "")]
    assert encodings.join(messages) == b"a,b"


def test_tools_are_encoded_once_and_the_oldest_are_forgotten() -> None:
    calls = []

    def encode(tools: object) -> bytes:
        calls.append(tools)
        return b"t%d" % len(calls)

    encodings = ToolEncodings(encode)
    tool = ToolSchema("a", "", {})
    assert encodings.of((tool,)) == encodings.of([tool]) == b"t1"
    others = [(ToolSchema(str(number), "", {}),) for number in range(64)]
    for other in others:
        encodings.of(other)
    assert encodings.of(others[-1]) == b"t65"
    assert encodings.of((tool,)) == b"t66"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=8,
)


@given(json_values)
def test_everything_that_is_json_becomes_utf8(value: object) -> None:
    json.loads(dump_json(value).decode("utf-8"))


def test_surrogates_are_replaced_and_pairs_are_joined() -> None:
    assert json.loads(dump_json(["\ud83d\ude00", "\ud83d", "ok"])) == ["\U0001f600", "\ufffd", "ok"]


@given(st.lists(st.text(max_size=80), unique=True, max_size=8))
def test_tool_names_fit_the_api_and_find_back(names: list[str]) -> None:
    tools = [ToolSchema(name, "", {}) for name in names]
    back = own_names(tools)
    for name in names:
        sent = wire_name(name)
        assert 1 <= len(sent) <= 64
        assert sent.replace("_", "").replace("-", "").isascii()
        assert back[sent] == name


@given(st.lists(st.sampled_from(["", "a", "b", "a-1", "call-0"]), max_size=8))
def test_call_ids_become_unique_and_good_ones_stay(ids: list[str]) -> None:
    calls = unique_ids(ToolCall(call_id, "x", str(at)) for at, call_id in enumerate(ids))
    assert [call.arguments for call in calls] == [str(at) for at in range(len(ids))]
    assert len({call.id for call in calls}) == len(ids)
    if ids and ids[0]:
        assert calls[0].id == ids[0]
