"""The page: nothing of a record becomes markup, everything that is drawn is also said."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_dashboard.page import page_of
from sashizu_dashboard.shown import Agent, Artifact, Call, Proof, Refusal, Run, Shown
from sashizu_dashboard.timeline import LEFT, WIDTH, timeline_of
from sashizu_dashboard.tree import in_tree_order

S = 1_000_000_000


def agent(agent_id: str, parent: str = "", name: str = "a", **more: Any) -> Agent:
    given = {"limits": {"tokens": 100}, "tokens": 10, "nusd": 1, "requests": 1, **more}
    return Agent(agent_id, parent, name, "m", "ok", "", 1 * S, 3 * S, **given)


def shown(text: str = "plain", **more: Any) -> Shown:
    """A run in which every text is the same."""
    parts: dict[str, Any] = {
        "run": Run(text, text, text, text, 1 * S, 3 * S, {"tokens": 100, "nusd": 5}, 20, 2, 2),
        "agents": (agent("1", name=text), agent("2", "1", name=text)),
        "calls": (
            Call("1", text, "model", text, 0, 1 * S, S, text, 10),
            Call("2", text, "tool", text, 1, 2 * S, None, text, 0),
        ),
        "refusals": (Refusal(2 * S, text, text, text, text, text, text),),
        "artifacts": (Artifact(text, text, text, 3),),
        "proof": Proof(1, 0, 0),
        **more,
    }
    return Shown(**parts)


class Skeleton(HTMLParser):
    """Tags and names of attributes but how they look, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = (name for name, _ in attrs if name != "class")  # such as that a call was allowed
        self.tags.append((tag, tuple(names)))
        self.values += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", ()))


PLAIN = Skeleton(page_of(shown()))


@given(
    st.text(min_size=1, max_size=40) | st.sampled_from(["<script>", "\"'><img src=x>", "</svg>"])
)
@settings(max_examples=60, deadline=None)
def test_no_text_of_a_record_becomes_markup(text):
    assert Skeleton(page_of(shown(text))).tags == PLAIN.tags


def test_text_is_shown_as_it_is():
    hostile = "</title><script>alert(1)</script>"

    found = Skeleton(page_of(shown(hostile)))

    assert hostile in "".join(found.text)
    assert "<script" not in page_of(shown(hostile))


@pytest.mark.parametrize("char", ["\u202e", "\x00", "\x1b", "\u2028", "\ud800"])
def test_characters_that_hide_are_made_visible(char):
    page = page_of(shown(f"a{char}b"))

    assert char not in page
    assert page.encode()


def test_the_page_loads_nothing():
    allowed = {"content", "href", "aria-labelledby"}
    for name, value in PLAIN.values:
        assert name not in {"src", "style", "action", "srcset", "data"}
        assert not name.startswith("on")
        assert name in allowed or "url(" not in value
        assert name != "href" or value.startswith("#")
    assert "default-src 'none'" in "".join(value for _, value in PLAIN.values)
    assert "@import" not in page_of(shown())


def test_every_table_has_a_caption_and_headers_and_every_part_a_name():
    names = [tag for tag, _ in PLAIN.tags]
    ids = {value for name, value in PLAIN.values if name == "id"}

    assert names.count("caption") == names.count("table") == 5
    assert all("scope" in attrs for tag, attrs in PLAIN.tags if tag == "th")
    assert names.count("main") == names.count("nav") == names.count("header") == 1
    for name, value in PLAIN.values:
        if name == "aria-labelledby":
            assert set(value.split()) <= ids
        if name == "href":
            assert value[1:] in ids


def test_what_was_not_checked_is_said():
    assert "".join(PLAIN.text).count("not checked") == 4


def test_a_run_without_an_end_says_so():
    run = Run("r", "p", "u", "unfinished", S, None, {}, 1, 0, 1)

    text = "".join(Skeleton(page_of(shown(run=run))).text)

    assert "no end on record" in text
    assert "no limit" in text


def test_a_page_that_shows_only_a_part_says_of_what():
    assert "only the beginning is shown of calls" in page_of(shown(cut=("calls",)))


def test_agents_stand_beneath_those_who_started_them_with_sums():
    agents = in_tree_order([agent("a"), agent("b"), agent("c", "a"), agent("d", "c")])

    assert [(one.agent_id, one.level, one.all_tokens) for one in agents] == [
        ("a", 0, 30),
        ("c", 1, 20),
        ("d", 2, 10),
        ("b", 0, 10),
    ]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=10))
def test_every_agent_has_one_place_even_in_a_circle(pairs):
    given = {str(one): agent(str(one), str(parent)) for one, parent in pairs}

    agents = in_tree_order(tuple(given.values()))

    assert sorted(one.agent_id for one in agents) == sorted(given)
    assert sum(one.all_tokens for one in agents if one.level == 0) == 10 * len(given)


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62) | st.none())
def test_every_bar_lies_within_the_drawing(started, duration):
    call = Call("1", "a", "model", "m", 0, started, duration, "ok", 1)

    line = timeline_of(shown(calls=(call,)))

    for bar in [*line.bars, *line.rows]:
        assert bar.x >= LEFT
        assert bar.width > 0
        assert bar.x + bar.width <= WIDTH
