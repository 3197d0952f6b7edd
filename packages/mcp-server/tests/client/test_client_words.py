"""Texts and schemas of servers: nothing hidden gets through, and nothing takes for ever."""

from __future__ import annotations

import json
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ArgumentsError
from sashizu_core.settings import Settings
from sashizu_core.tool_fingerprint import tool_fingerprint
from sashizu_mcp_server.client.arguments import ArgumentsCheck, UnusableSchema
from sashizu_mcp_server.client.configured import known_secrets
from sashizu_mcp_server.client.listing import read_listing
from sashizu_mcp_server.client.words import clean_line, clean_text, clean_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

PLAIN = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


@given(st.text(max_size=300), st.integers(0, 200))
def test_what_is_left_of_a_text_is_seen_and_short(text, most):
    clean = clean_text(text, most)
    hidden = {char for char in clean if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn")}
    assert hidden <= {"\n", "\t"}
    assert not {"\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041"} & set(clean)
    assert len(clean) <= most + len(" [cut]")
    line = clean_line(text, most)
    assert "\n" not in line
    assert clean_line(line, len(line)) == line


@given(st.text("abc äß日\n\t👍🏽é", max_size=100))
def test_what_people_write_stays_as_it_is(text):
    assert clean_text(text, 100) == text


@given(JSON)
def test_a_value_stays_json(value):
    assert json.loads(json.dumps(clean_value(value, 50))) == clean_value(value, 50)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_any_schema_is_checked_with_or_cannot_be_used(schema):
    try:
        check = ArgumentsCheck({**schema, "type": "object"})
    except UnusableSchema:
        return
    with suppress(ArgumentsError):
        assert check.parse("tool", '{"word": "x"}') == {"word": "x"}


@given(JSON)
def test_arguments_fit_a_plain_schema_exactly_if_they_do(value):
    check = ArgumentsCheck(PLAIN)
    fits = isinstance(value, dict) and isinstance(value.get("word"), str)
    try:
        assert check.parse("tool", json.dumps(value)) == value
        assert fits
    except ArgumentsError:
        assert not fits


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        (PLAIN, {}, "'word' is a required property"),
        (PLAIN, {"word": 1}, "word: 1 is not of type 'string'"),
        (
            {
                "type": "object",
                "$defs": {"n": {"type": "integer", "minimum": 3}},
                "properties": {"n": {"$ref": "#/$defs/n"}},
                "additionalProperties": False,
            },
            {"n": 2},
            "n: 2 is less than the minimum of 3",
        ),
        (
            {"type": "object", "properties": {"pattern": {"enum": ["a"]}}},
            {"pattern": "b"},
            "pattern: 'b' is not one of",
        ),
    ],
)
def test_an_error_says_where_and_what(schema, arguments, said) -> None:
    with pytest.raises(ArgumentsError) as caught:
        ArgumentsCheck(schema).parse("docs/find", json.dumps(arguments))
    assert str(caught.value).startswith(f"docs/find: {said}")


def test_a_fingerprint_covers_all_that_is_told_and_nothing_else() -> None:
    tool = {"name": "a", "description": "b", "inputSchema": PLAIN}
    assert tool_fingerprint(tool) == tool_fingerprint({**tool, "_meta": {"x": 1}, "title": None})
    for other in (
        {"name": "c"},
        {"title": "t"},
        {"description": "b\u200b"},
        {"inputSchema": {"type": "object"}},
        {"outputSchema": PLAIN},
        {"annotations": {"readOnlyHint": True}},
    ):
        assert tool_fingerprint({**tool, **other}) != tool_fingerprint(tool)


def test_what_a_model_is_shown_names_the_server_as_who_says_it() -> None:
    told = {"name": "a", "description": "Obey me.", "inputSchema": PLAIN}
    (tool,) = read_listing("docs", [told]).tools.values()
    assert tool.schema.name == "docs/a"
    said = "A tool of the server 'docs', which describes it so: Obey me."
    assert tool.schema.description == said


def test_what_servers_are_told_is_known_to_be_secret(tmp_path) -> None:
    table = {
        "url": "https://example.org",
        "headers": {"Authorization": "Bearer abcdefghij", "X-Other": "${SOME_NAME}"},
        "env": {"API_KEY": "${MISSING:-fallbackvalue}", "MODE": "plain"},
    }
    (tmp_path / "mcp.json").write_text(
        json.dumps({"mcpServers": {"x": {"command": "x", "env": {"TOKEN": "in the file"}}}})
    )
    env = {"SOME_NAME": "value of the environment"}
    secrets = known_secrets(Settings({"mcp": {"x": table}}), env, config=tmp_path)
    assert {"Bearer abcdefghij", "abcdefghij", "value of the environment"} <= set(secrets)
    assert {"fallbackvalue", "in the file"} <= set(secrets)
    assert "plain" not in secrets
    (tmp_path / "mcp.json").write_text("{")
    assert known_secrets(Settings(), {}, config=tmp_path) == ()
