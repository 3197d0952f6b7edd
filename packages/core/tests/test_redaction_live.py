"""Text that arrives in pieces: what is shown, and when."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sashizu_core.redaction import LiveText, Redactor
from sashizu_core.redaction.live import MOST_HELD
from sashizu_core.redaction.own_patterns import compiled

GITHUB = "ghp" + "_" + "a1B2" * 9
KEY = "-----BEGIN PRIVATE " + "KEY-----\n" + "MIIEvQIBADANBgkq\n" * 8 + "-----END PRIVATE KEY-----"
KNOWN = ["known-value-42", "two words and more", "line one\nline two"]


def shown(pieces: list[str], redactor: Redactor) -> str:
    parts: list[str] = []
    live = LiveText(redactor, parts.append)
    for piece in pieces:
        live.feed(piece)
    live.close()
    return "".join(parts)


def split(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


SECRETS = [*KNOWN, GITHUB, 'password = "hunter2secret"', "Bearer abc.def-123456789", KEY]
INSIDE = [*KNOWN, GITHUB, "hunter2secret", "abc.def-123456789", "MIIEvQIBADANBgkq"]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(SECRETS) | st.text(max_size=30), max_size=8),
    st.lists(st.integers(0, 2000), max_size=20),
)
@example(["x ", GITHUB, " y"], list(range(60)))
@example(["password = ", '"hunter2secret"'], list(range(40)))
@example([KEY], list(range(0, 250, 3)))
def test_a_secret_is_found_however_it_is_cut(parts: list[str], cuts: list[int]) -> None:
    text = " ".join(parts)
    clean = shown(split(text, cuts), Redactor(KNOWN))
    whole = Redactor(KNOWN).text(text)
    for secret in INSIDE:
        if secret not in whole:
            assert secret not in clean


@given(st.text(alphabet="ab \n.,", max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_text_without_secrets_arrives_whole_and_in_order(text: str, cuts: list[int]) -> None:
    assert shown(split(text, cuts), Redactor(KNOWN)) == text


def test_words_are_shown_as_soon_as_they_end() -> None:
    parts: list[str] = []
    live = LiveText(Redactor(), parts.append)
    for piece in ("The ", "answ", "er ", "is 42", ".\n"):
        live.feed(piece)
    assert parts == ["The ", "answer ", "is ", "42.\n"]


def test_a_secret_is_marked_as_it_is_in_the_record() -> None:
    redactor = Redactor()
    assert shown(list(f"key {GITHUB} end"), redactor) == f"key {redactor.text(GITHUB)} end"


@pytest.mark.parametrize("size", [MOST_HELD - 10, MOST_HELD + 10, 5 * MOST_HELD])
def test_a_word_without_end_is_not_held_for_ever(size: int) -> None:
    parts: list[str] = []
    live = LiveText(Redactor(KNOWN), parts.append)
    for _ in range(size // 100):
        live.feed("0123456789" * 10)
        assert len(live._held) <= MOST_HELD + 100
    live.feed("known-val")
    live.feed("ue-42")
    live.close()
    text = "".join(parts)
    assert "known-value-42" not in text
    assert text.startswith("0123456789" * 100)


def test_nothing_of_a_key_without_an_end_is_shown() -> None:
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"
    pieces = ["before -----BEGIN PRIVATE KEY-----\n", *[f"{line}\n"] * 1000]
    clean = shown(pieces, Redactor())
    assert line not in clean
    assert re.fullmatch(r"before \[redacted:private-key:[0-9a-f]{8}\]", clean)


def test_patterns_of_the_operator_are_found_across_pieces() -> None:
    redactor = Redactor(patterns=[compiled(r"emp [0-9]{6}")])
    clean = shown(list("the number is emp 123456 today\nand on"), redactor)
    assert "123456" not in clean
    assert clean.endswith(" today\nand on")


def test_a_great_piece_takes_time_in_proportion() -> None:
    parts: list[str] = []
    live = LiveText(Redactor(KNOWN), parts.append)
    live.feed("word " * 400_000)
    live.feed("x" * 2_000_000)
    live.close()
    assert sum(map(len, parts)) == 4_000_000
