import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_cli.plain import cells, cut, one_line, padded, printable, table_lines, visible


@given(st.text())
def test_printable_text_holds_nothing_that_steers_a_terminal(text):
    for char in printable(text):
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31m", "\\x9b31m"),
        ("safe\rdone", "safe\\x0ddone"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("a\u200bb", "a\\u200bb"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half \ud800", "half \\ud800"),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        ("見積り 👩\u200d💻", "見積り 👩\u200d💻"),
    ],
)
def test_what_is_dangerous_is_shown_and_what_is_not_stays(hostile, shown):
    assert printable(hostile) == shown


@given(st.text())
def test_one_line_is_one_line(text):
    assert len(one_line(text).splitlines()) <= 1


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "M"))), st.integers(0, 40))
def test_cut_and_padded_text_have_the_width_asked(text, width):
    assert cells(cut(text, width)) <= width
    assert cells(padded(text, width)) == width


def test_columns_are_aligned_also_with_wide_characters():
    assert table_lines([("NAME", "X"), ("見積", "1"), ("abcdef", "2")]) == [
        "NAME    X",
        "見積    1",
        "abcdef  2",
    ]
    assert table_lines([]) == []


def test_a_table_is_as_wide_as_it_may_be_and_its_widest_column_is_cut_first():
    rows = [("RUN", "AGENTS"), ("1234", "a" * 100), ("5678", "b")]
    lines = table_lines(rows, 40)
    assert max(map(len, lines)) == 40
    assert lines[1].startswith("1234  aaa")
    assert table_lines(rows)[1] == f"1234  {'a' * 100}"


def test_blanks_push_nothing_out_of_sight():
    shown = visible("git status" + " " * 300 + "; rm x" + "\u3164\u2800")
    assert shown == "git status [300 blanks] ; rm x\\u3164\\u2800"
    assert visible("a  b") == "a  b"
