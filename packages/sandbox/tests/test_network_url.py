"""URLs as hostile text: public corpora, our own attacks, and what holds for any text."""

from __future__ import annotations

import itertools
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sashizu_core.grants import Grants, NetRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.types import Decision
from sashizu_sandbox.network.dialling import AddressRefused, Dialler
from sashizu_sandbox.network.url import Url, UrlRefused, join_url, parse_url

CORPUS = Path(__file__).parent / "url_corpus"
WHATWG = json.loads((CORPUS / "whatwg.json").read_text(encoding="utf-8"))
OWN = json.loads((CORPUS / "own.json").read_text(encoding="utf-8"))
SSRFCHECK = json.loads((CORPUS / "ssrfcheck.json").read_text(encoding="utf-8"))

EVERYWHERE = Subject("agent", "tester", (Grants(net=("*", "http://*")),))
"""Somebody who may connect to every host that has a name."""


async def judge(request: NetRequest) -> Decision:
    return authorize((request,), EVERYWHERE)


def read(text: str) -> Url | None:
    try:
        return parse_url(text)
    except UrlRefused:
        return None


# --- public corpora -------------------------------------------------------------------------------


def same_host(text: str) -> str:
    """A host as it is compared: addresses in one spelling."""
    bare = text.strip("[]")
    return str(ip_address(bare)) if ":" in bare else bare


@pytest.mark.parametrize(("text", "meant"), WHATWG["cases"])
def test_a_url_is_read_as_browsers_read_it_or_not_at_all(text: str, meant: list[Any]) -> None:
    found = read(text)
    if found is not None:
        assert meant is not None, f"refused by browsers, read as {found}"
        assert (found.scheme, same_host(found.host), found.port) == (
            meant[0],
            same_host(meant[1]),
            meant[2],
        )
        assert unquote(found.path) == unquote(meant[3])


def test_sound_urls_of_the_corpus_are_read() -> None:
    sound = [text for text, meant in WHATWG["cases"] if meant is not None and read(text)]
    assert len(sound) >= 50


@pytest.mark.parametrize("text", SSRFCHECK["attacks"])
async def test_no_known_attack_is_connected(text: str) -> None:
    async def inward(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"]

    url = read(text)
    if url is None or not (await judge(url.request)).allowed:
        return
    with pytest.raises(AddressRefused):
        await Dialler(resolve=inward).connect(url.request, judge)


def test_harmless_urls_of_the_corpus_are_read_but_for_names_that_are_not_idna_2008() -> None:
    absolute = [text for text in SSRFCHECK["harmless"] if text.startswith(("http://", "https://"))]
    refused = [text for text in absolute if read(text) is None]
    assert len(absolute) >= 35
    assert sorted(refused) == sorted(
        [
            "http://✪df.ws/123",
            "http://➡.ws/䨹",
            "http://⌘.ws",
            "http://⌘.ws/",
            "https://☺.damowmow.com/",
            "http://foo.bar?q=Spaces should be encoded",
        ]
    )


# --- our own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", OWN["attacks"])
def test_what_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(UrlRefused):
        parse_url(text)


DOTS = ("..", "%2e%2e", "%252e%252e", "%c0%ae%c0%ae", "%25c0%25ae%25c0%25ae", ".%2e", "%252E.")
SLASHES = ("/", "%2f", "%252f", "\\", "%5c", "%255c", "%c0%af", "%25c0%25af", "%c1%9c", ";/")


@pytest.mark.parametrize(("dots", "slash"), [*itertools.product(DOTS, SLASHES)])
@pytest.mark.parametrize("deep", [1, 3])
def test_no_way_to_write_a_step_upwards_is_judged_as_a_path_beneath(
    dots: str, slash: str, deep: int
) -> None:
    url = read(f"https://example.com/v1/a/b/{(dots + slash) * deep}admin")
    if url is None:
        return
    folder = ["v1", "a", "b"][: 3 - deep]
    assert url.path == "/" + "/".join([*folder, "admin"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com:443/#part", "https://example.com/"),
        ("http://example.com:80/?", "http://example.com/"),
        ("http://example.com:443", "http://example.com:443/"),
        ("https://bücher.example/ü?q=ü", "https://xn--bcher-kva.example/%C3%BC?q=%C3%BC"),
        ("https://\uff25\uff38\uff21\uff2d\uff30\uff2c\uff25.com", "https://example.com/"),
        ("https://faß.example", "https://xn--fa-hia.example/"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("https://r3---sn-x.example.com/", "https://r3---sn-x.example.com/"),
        ("https://127.0.0.1:8443/x", "https://127.0.0.1:8443/x"),
        ("https://[2001:DB8:0::1]/", "https://[2001:db8::1]/"),
        ("https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
        ("https://example.com/a/../b/./c/..", "https://example.com/b/"),
        ("https://example.com/../../a", "https://example.com/a"),
        ("https://example.com/%7Euser/%61?x=%7e", "https://example.com/~user/a?x=~"),
        ("https://example.com/a//b", "https://example.com/a//b"),
        ("https://example.com/p/group%2fproject", "https://example.com/p/group%2Fproject"),
        ("https://example.com/a;b=c/d,e", "https://example.com/a;b=c/d,e"),
        ("https://example.com/?a=[1]&b={2}|3", "https://example.com/?a=%5B1%5D&b=%7B2%7D%7C3"),
        ("https://example.com/100%25", "https://example.com/100%25"),
        ("https://example.com?a/../b", "https://example.com/?a/../b"),
    ],
)
def test_equal_urls_have_one_form(text: str, found: str) -> None:
    assert str(parse_url(text)) == found


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("https://other.example/x", "https://other.example/x"),
        ("//other.example/x", "https://other.example/x"),
        ("/x?y", "https://example.com:8443/x?y"),
        ("x", "https://example.com:8443/a/x"),
        ("../../x", "https://example.com:8443/x"),
        ("?y", "https://example.com:8443/a/b?y"),
        ("#part", "https://example.com:8443/a/b?q"),
        ("", "https://example.com:8443/a/b?q"),
    ],
)
def test_a_redirect_leads_to_where_browsers_go(reference: str, found: str) -> None:
    assert str(join_url(parse_url("https://example.com:8443/a/b?q"), reference)) == found


@pytest.mark.parametrize(
    "reference",
    ["///evil.org", "/\\evil.org", "\\\\evil.org", "http:evil.org", "https:/evil.org", "file:///x"],
)
def test_a_redirect_that_parsers_disagree_on_is_refused(reference: str) -> None:
    with pytest.raises(UrlRefused):
        join_url(parse_url("https://example.com/a"), reference)


# --- any text -------------------------------------------------------------------------------------

SHARP = (
    "http:// https:// http: // / \\ @ : # ? . .. ; % %2e %2f %5c %00 [ ] ::1 127.0.0.1 127.1 0x7f "
    "2130706433 example.com evil.org a xn-- ü 。 ① \u200b \t \n 443 :80 user&x=y é \uff0e\uff0e"
)
PIECES = st.sampled_from(SHARP.split(" "))
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)
URLS = st.tuples(st.sampled_from(["http://", "https://", "HTTP://"]), TEXTS).map("".join) | TEXTS


@given(URLS)
@example("https://example.com/a;/b")
def test_the_form_of_a_url_is_its_own_form(text: str) -> None:
    url = read(text)
    if url is not None:
        assert parse_url(str(url)) == url


@given(URLS)
def test_a_url_never_has_another_host_than_the_standard_library_finds(text: str) -> None:
    url = read(text)
    if url is None:
        return
    parts = urlsplit(str(url))
    assert (parts.scheme, parts.hostname, parts.username) == (url.scheme, url.host, None)
    assert (parts.port or {"http": 80, "https": 443}[url.scheme]) == url.port
    written = urlsplit(text)
    if text.isascii():
        assert written.username is None
        assert written.hostname is not None
        assert same_host(written.hostname) == same_host(url.host)


@given(URLS)
def test_what_is_judged_and_sent_has_nothing_that_could_end_a_line(text: str) -> None:
    url = read(text)
    if url is not None:
        assert url.path.startswith("/")
        assert str(url).isascii()
        assert all("!" <= letter <= "~" for letter in str(url))


@given(URLS)
def test_no_path_has_steps_upwards_however_often_it_is_decoded(text: str) -> None:
    url = read(text)
    if url is None:
        return
    path = url.path
    for _ in range(5):
        assert ".." not in path.replace("\\", "/").split("/")
        path = unquote(path)
