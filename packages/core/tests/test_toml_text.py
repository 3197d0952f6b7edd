import tomllib

import pytest
from sashizu_core.documents import Place
from sashizu_core.errors import ConfigError
from sashizu_core.toml_text import key_places, read_toml

TEXT = '''\
# [no.table]
title = "a ] b # c" # [neither]
 dotted . "quoted.key" = 1

[table]  # with a comment
long = """
[not.a.table]
key = 1 \\""" "" """""
literal = \'\'\'
x = 1'' \'\'\'\'\'
list = [ 1, # one
  "]", [2, 3], {inner = 4},
]
inline = { a = 1, b.c = [5] , "d" = {} }
date = 2026-01-02 03:04:05

[[items]]
name = "first"
[[items]]
name = "second"
[items.more]
x = true
[[items.deep]]
y = 1
'''


def _paths(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, below in value.items():
            found |= _paths(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            found |= _paths(below, (*path, index))
    return found


def test_every_key_and_item_has_a_place_and_nothing_else_has() -> None:
    assert set(key_places(TEXT)) == _paths(tomllib.loads(TEXT))


def test_places_count_lines_and_columns_from_one() -> None:
    places = key_places(TEXT)
    assert places["title",] == Place(2, 1)
    assert places["dotted",] == Place(3, 2)
    assert places["dotted", "quoted.key"] == Place(3, 11)
    assert places["table",] == Place(5, 1)
    assert places["table", "literal"] == Place(9, 1)
    assert places["table", "list"] == Place(11, 1)
    assert places["table", "list", 1] == Place(12, 3)
    assert places["table", "list", 3, "inner"] == Place(12, 17)
    assert places["table", "inline", "b", "c", 0] == Place(14, 26)
    assert places["items", 1, "name"] == Place(20, 1)
    assert places["items", 1, "more", "x"] == Place(22, 1)
    assert places["items", 1, "deep", 0, "y"] == Place(24, 1)


def test_lines_that_end_as_on_windows_count_as_one() -> None:
    assert key_places("a = 1\r\nb = 2\r\n")["b",] == Place(2, 1)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a." * 200 + "b = 1", "[" + "a." * 99 + "b]"]
)
def test_deep_nesting_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        read_toml(text)
