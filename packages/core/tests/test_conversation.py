from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sashizu_core.errors import UsageError
from sashizu_core.runtime.conversation import Conversation, load_conversation, save_conversation
from sashizu_core.types import Message, ToolCall, Usage


def conversation(goal: str = "hello") -> Conversation:
    messages = (
        Message("system", "be good", opaque={"sashizu": "{}"}),
        Message("user", goal),
        Message("assistant", "", (ToolCall("1", "grep", "{}"),)),
        Message("tool", "nothing\ud800", tool_call_id="1", is_error=True),
        Message("assistant", "done"),
    )
    return Conversation(Conversation.new_id(), "general", "offline", messages, Usage(10, 5), ("r",))


def file_of(home: Path, kept: Conversation) -> Path:
    return home / "conversations" / f"{kept.id}.jsonl"


def plain(message: Message) -> tuple[object, ...]:
    return tuple(getattr(message, name) for name in Message.__slots__ if name != "__weakref__")


def test_a_conversation_comes_back_as_it_was(tmp_path: Path) -> None:
    before = conversation()
    save_conversation(tmp_path, before)
    after = load_conversation(tmp_path, before.id)
    assert [plain(m) for m in after.messages] == [plain(m) for m in before.messages]
    assert (after.agent, after.model, after.used, after.runs) == (
        before.agent,
        before.model,
        before.used,
        before.runs,
    )


def test_its_file_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = file_of(tmp_path, save_conversation(tmp_path, conversation()))
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_beginning_of_an_id_is_enough_and_last_is_the_newest(tmp_path: Path) -> None:
    only = conversation()
    save_conversation(tmp_path, only)
    assert load_conversation(tmp_path, only.id[:20]).id == only.id
    assert load_conversation(tmp_path, "last").id == only.id


@pytest.mark.parametrize("wanted", ["", "nope", "../../etc/passwd"])
def test_an_unknown_conversation_is_a_usage_error(tmp_path: Path, wanted: str) -> None:
    save_conversation(tmp_path, conversation())
    with pytest.raises(UsageError, match="no conversation"):
        load_conversation(tmp_path, wanted)


def test_a_damaged_conversation_says_which_file(tmp_path: Path) -> None:
    saved = conversation()
    path = file_of(tmp_path, save_conversation(tmp_path, saved))
    path.write_text("{", "utf-8")
    with pytest.raises(UsageError, match=path.name):
        load_conversation(tmp_path, saved.id)


def test_a_conversation_that_went_on_meanwhile_is_kept_beside_the_other(tmp_path: Path) -> None:
    first = save_conversation(tmp_path, conversation())
    one = save_conversation(tmp_path, replace(first, runs=("r", "one")))
    two = save_conversation(tmp_path, replace(first, runs=("r", "two")))
    assert one.id == first.id != two.id
    assert load_conversation(tmp_path, one.id).runs == ("r", "one")
    assert load_conversation(tmp_path, two.id).runs == ("r", "two")


def test_what_a_session_kept_goes_after_its_time_and_what_is_permanent_stays(
    tmp_path: Path,
) -> None:
    old = save_conversation(tmp_path, conversation())
    permanent = save_conversation(tmp_path, replace(conversation(), retention="permanent"))
    for kept in (old, permanent):
        os.utime(file_of(tmp_path, kept), (1, 1))
    fresh = save_conversation(tmp_path, conversation())
    left = {path.stem for path in (tmp_path / "conversations").iterdir()}
    assert left == {permanent.id, fresh.id}
