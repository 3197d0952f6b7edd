"""HTML as text: what is kept, and that hostile pages take no longer than others."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_sandbox.network.html_text import MOST_LINKS, html_text


def as_is(href: str) -> str:
    return href


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>One <b>two</b>\n   three</p><p>four", "One two three\n\nfour"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<h1>A</h1>b<h3>C</h3>d", "# A\n\nb\n\n### C\n\nd"),
        ("<ul><li>a<li>b</ul>c", "- a\n- b\n\nc"),
        ("<pre>  x\n    y</pre>z", "x\n    y\n\nz"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "| 1 | 2\n | 3"),
        ("a &lt;b&gt; &amp;amp; &#65;&nbsp;c", "a <b> &amp; A\xa0c"),
        ("a<script>if (a < b) { '</p>' }</script>b", "ab"),
        ("a<STYLE>p { }</STYLE >b<!-- <p>no --> c", "ab c"),
        ("a<svg><text>no</text></svg>b<template>no</template>c", "abc"),
        ("<a href='/x'>link</a>", "[link](/x)"),
        ('<a class="a>b" href="/x?a&amp;b">link</a>.', "[link](/x?a&b)."),
        ("<a href=/x><img src=y></a>z", "z"),
        ("<a name=x>no link</a>", "no link"),
        ("<a href=/x>one<a href=/y>two", "[one](/x)[two](/y)"),
        ("1 < 2 and <3", "1 < 2 and <3"),
        ("a<p", "a"),
        ("a<!-- no", "a"),
        ("a<script>no", "a"),
        ("", ""),
    ],
)
def test_a_page_becomes_readable_text(page: str, text: str) -> None:
    assert html_text(page, as_is)[1] == text


def test_the_title_is_no_text_of_the_page() -> None:
    assert html_text("<title> A\n &amp; B </title>c<title>d</title>", as_is) == ("A & B", "c")


def test_a_link_without_a_target_to_show_is_its_text() -> None:
    assert html_text("<a href='javascript:x'>a</a>", lambda href: "")[1] == "a"


def test_only_so_many_links_are_looked_at() -> None:
    seen: list[str] = []

    def note(href: str) -> str:
        seen.append(href)
        return href

    html_text("<a href=x>y</a>" * (MOST_LINKS + 10), note)
    assert len(seen) == MOST_LINKS


HOSTILE = [
    "<", "<!", "<!--", "<a ", "<a x='", '<a x="', "</", "&#", "<![", "<?", "<a b=c ", "<script>",
    "<title>", "<pre>   ", "\n ", "<a href='", "<a href=x>", "<a/", "<svg>", "=   '", "<a href ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_page_takes_more_than_time_in_proportion(piece: str) -> None:
    def cpu(size: int) -> float:
        page = (piece * (size // len(piece) + 1))[:size]
        begun = time.process_time()
        html_text(page, as_is)
        return time.process_time() - begun

    small = min(cpu(1 << 15) for _ in range(3))
    assert cpu(1 << 18) < 8 * small * 4 + 0.05, "eight times the page, over four times eight"


@given(st.lists(st.sampled_from([*HOSTILE, "x", ">", "</a>", "</script>", "<p>"]) | st.text()))
def test_any_text_has_a_text(pieces: list[str]) -> None:
    title, text = html_text("".join(pieces), as_is)
    assert "\n\n\n" not in text
    assert "\n" not in title
