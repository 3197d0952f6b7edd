"""What patterns of URLs reach, and what two have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.granted_urls import (
    common_urls,
    oddity_of_url,
    reaches,
    rule_reaches,
    url_pattern,
    url_request,
)
from sashizu_core.grants import Grants, NetRequest, Subject
from sashizu_core.permissions import authorize


def may(request: NetRequest, *net: str) -> bool:
    return authorize([request], Subject("id", "agent", (Grants(net=net),))).allowed


def connects(url: str, *net: str) -> bool:
    request = url_request(url)
    assert request is not None, url
    return may(request, *net)


# --- hosts and ports ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("example.org", "https://example.org"),
        ("example.org", "https://example.org/any/path"),
        ("Example.ORG", "https://example.org/"),
        ("example.org:8443", "https://example.org:8443/"),
        ("https://example.org", "https://example.org/3/"),
        ("https://example.org:443", "https://example.org/"),
        ("http://example.org", "http://example.org/"),
        ("http://example.org:8080", "http://example.org:8080/"),
        ("*.example.org", "https://a.example.org/"),
        ("*.example.org", "https://a.b.example.org/"),
        ("https://*", "https://example.org/"),
        ("*", "https://example.org/"),
        ("127.0.0.1", "https://127.0.0.1/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("[2001:db8::1]", "https://[2001:db8::1]/"),
        ("[2001:DB8:0::1]", "https://[2001:db8::1]/"),
        ("localhost", "https://localhost/"),
        ("xn--bcher-kva.example", "https://xn--bcher-kva.example/"),
        ("https://example.org/*", "https://example.org/"),
    ],
)
def test_a_pattern_reaches_what_it_says(pattern: str, url: str) -> None:
    assert connects(url, pattern)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("example.org", "http://example.org/"),
        ("example.org", "https://example.org:8443/"),
        ("example.org", "https://a.example.org/"),
        ("example.org", "https://example.org.evil.test/"),
        ("example.org", "https://evil-example.org/"),
        ("example.org:8443", "https://example.org/"),
        ("*.example.org", "https://example.org/"),
        ("*.example.org", "https://evil-example.org/"),
        ("*.example.org", "https://example.org.evil.test/"),
        ("*.example.org", "http://a.example.org/"),
        ("https://*", "http://example.org/"),
        ("https://*", "https://127.0.0.1/"),
        ("https://*", "https://[::1]/"),
        ("https://*", "https://localhost/"),
        ("*", "https://169.254.169.254/latest/meta-data"),
        ("127.0.0.1", "https://127.0.0.2/"),
        ("127.0.0.1", "https://[::ffff:127.0.0.1]/"),
        ("*.0.0.1", "https://127.0.0.1/"),
        ("http://example.org", "https://example.org/"),
    ],
)
def test_a_pattern_reaches_nothing_beside_it(pattern: str, url: str) -> None:
    assert not connects(url, pattern)


@pytest.mark.parametrize(
    "host",
    [
        "EXAMPLE.org",
        "example.org.",
        "exаmple.org",  # noqa: RUF001 - a Cyrillic letter
        "ｅxample.org",  # noqa: RUF001 - a wide letter
        "example。org",
        "exam\u00adple.org",
        "example.org\0",
        "example.org\n",
        "example.org:443",
        "user@example.org",
        "example..org",
        ".example.org",
        "-example.org",
        "example.org/",
        "example.org%00",
        "*.example.org",
        "*",
        "",
        "127.1",
        "0127.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "1.2.3.4.5",
        "example.0x1",
        "[::1]",
        "fe80::1%eth0",
        "a" * 64 + ".org",
        ".".join(["a" * 60] * 5),
    ],
)
def test_a_host_that_is_not_in_its_usual_form_is_refused(host: str) -> None:
    request = NetRequest("https", host, 443, "/")
    assert oddity_of_url(request)
    assert not may(request, "*", "https://*", "*.org", "example.org", "*.example.org", host)


@pytest.mark.parametrize("scheme", ["ftp", "HTTPS", "file", "", "ws", "https "])
def test_other_schemes_are_refused(scheme: str) -> None:
    assert not may(NetRequest(scheme, "example.org", 443, "/"), "*", "example.org")


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
def test_ports_that_do_not_exist_are_refused(port: int) -> None:
    assert oddity_of_url(NetRequest("https", "example.org", port, "/"))


# --- paths ----------------------------------------------------------------------------------------

DOCS = "https://example.org/docs/*"


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/a", "/docs/a/b.html", "/docs/a%20b"])
def test_a_path_reaches_itself_and_what_is_beneath_it(path: str) -> None:
    assert may(NetRequest("https", "example.org", 443, path), DOCS)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs2",
        "/docs-evil/a",
        "/Docs/a",
        "/x/docs/a",
        "/docs/../admin",
        "/docs/./a",
        "/docs/..",
        "/docs/%2e%2e/admin",
        "/docs/.%2E/admin",
        "/docs/%252e%252e/admin",
        "/docs/..%2fadmin",
        "/docs%2f..%2fadmin",
        "/docs/..;/admin",
        "/docs/..;x=1/admin",
        "/docs/%2e%2e;/admin",
        "/docs/..%5cadmin",
        "/docs/a%2fb",
        "/docs/a%00",
        "/docs//admin",
        "/docs;x/admin",
        "/docs\\..\\admin",
        "/docs/a b",
        "/docs/a\n",
        "/docs/ä",
        "/docs/%zz",
        "/docs/%2",
        "/docs/?a",
        "/docs/#a",
        "/docs/*|x",
        "docs/a",
        "",
    ],
)
def test_a_path_reaches_nothing_beside_it_however_it_is_written(path: str) -> None:
    assert not may(NetRequest("https", "example.org", 443, path), DOCS)


def test_a_path_without_a_star_is_that_path_alone() -> None:
    exact = "https://example.org/a.json"
    assert connects("https://example.org/a.json", exact)
    for other in ("https://example.org/a.json/b", "https://example.org/a.jsonx"):
        assert not connects(other, exact)


def test_paths_that_servers_read_differently_are_reached_where_any_path_is() -> None:
    for path in ("/group%2Fproject", "/web/2020/https://example.com/", "/a;b"):
        assert may(NetRequest("https", "example.org", 443, path), "example.org")


# --- patterns that mean nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        " ",
        " example.org",
        "example.org ",
        "https://",
        "://example.org",
        "ftp://example.org",
        "https:/example.org",
        "//example.org",
        "example.org/docs/*",
        "example.org.",
        "https://ok.test/(|evil",
        "https://a.com/x|b",
        "a.com|b.com",
        "exa+mple.org",
        "example.(org|com)",
        "https://example.org/[a]",
        "exam*.org",
        "a.*.org",
        "*example.org",
        "**.example.org",
        "*.*.org",
        "*.127.0.0.1",
        "https://*@example.org",
        "https://user@example.org",
        "https://user:pw@example.org",
        "example.org:0",
        "example.org:065",
        "example.org:99999",
        "example.org:*",
        "https://example.org/a/*/b",
        "https://example.org/a*",
        "https://example.org/a/../b/*",
        "https://example.org/a?b",
        "https://example.org/a#b",
        "https://example.org/a b",
        "bücher.example",
        "example.org\n",
        "example.org\nevil.test",
        "0177.0.0.1",
        "::1",
        "[::1",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "10.0.0.0/8",
    ],
)
def test_a_pattern_that_is_not_understood_grants_nothing(pattern: str) -> None:
    assert url_pattern(pattern) is None
    for url in (
        "https://example.org/",
        "https://ok.test/(",
        "https://evil.test/?",
        "https://a.com/",
    ):
        request = url_request(url.removesuffix("?").removesuffix("("))
        assert request is not None
        assert not may(request, pattern)


# --- what two have in common ----------------------------------------------------------------------

HOSTS = st.sampled_from(["a.test", "b.a.test", "c.b.a.test", "xa.test", "localhost", "10.0.0.7"])
PATTERNS = st.builds(
    lambda scheme, host, port, path: f"{scheme}{host}{port}{path if scheme else ''}",
    st.sampled_from(["", "https://", "https://", "http://"]),
    st.one_of(HOSTS, st.sampled_from(["*", "*.a.test", "*.b.a.test", "*.test"])),
    st.sampled_from(["", "", ":443", ":80"]),
    st.sampled_from(["", "", "/*", "/a", "/a/*", "/a/b", "/a/b/*", "/ab/*"]),
)
REQUESTS = st.builds(
    NetRequest,
    st.sampled_from(["https", "https", "https", "http"]),
    HOSTS,
    st.sampled_from([443, 443, 443, 80]),
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/a//b", "/a%2fb"]),
)
LISTS = st.lists(PATTERNS, max_size=3)


def any_reaches(patterns: list[str] | tuple[str, ...], request: NetRequest) -> bool:
    found = (url_pattern(text) for text in patterns)
    return any(pattern is not None and reaches(pattern, request) for pattern in found)


@given(LISTS, LISTS, REQUESTS)
def test_two_lists_have_in_common_exactly_what_both_reach(
    mine: list[str], theirs: list[str], request_: NetRequest
) -> None:
    both = any_reaches(mine, request_) and any_reaches(theirs, request_)
    assert any_reaches(common_urls(mine, theirs), request_) == both


@given(PATTERNS, REQUESTS)
def test_a_pattern_written_out_means_the_same(text: str, request_: NetRequest) -> None:
    pattern = url_pattern(text)
    assert pattern is not None
    assert url_pattern(str(pattern)) == pattern
    assert any_reaches([str(pattern)], request_) == any_reaches([text], request_)


@given(st.text(max_size=40), REQUESTS)
def test_no_text_as_a_pattern_does_harm(text: str, request_: NetRequest) -> None:
    pattern = url_pattern(text)
    if pattern is not None and pattern.reach == "exact":
        assert not reaches(pattern, request_) or pattern.host == request_.host
    assert common_urls([text], ["a.test"]) in ((), ("https://a.test",))


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        NetRequest("https", "evil.test", 443, "/"),
        NetRequest("http", "evil.test", 80, "/x"),
        NetRequest("https", "evil.test", 8443, "/"),
        NetRequest("https", "evil.test.", 443, "/"),
        NetRequest("https", "EVIL.test", 443, "/"),
    ],
)
def test_a_rule_about_a_host_is_about_every_scheme_and_port(url: NetRequest) -> None:
    assert rule_reaches("evil.test", url)


@pytest.mark.parametrize(
    "path", ["/admin", "/admin/x", "/%61dmin", "/ADMIN/", "/x/../admin", "/x%2fy", "/a//b"]
)
def test_a_rule_about_a_path_is_about_all_ways_to_write_it(path: str) -> None:
    rule = "https://example.org/admin/*"
    assert rule_reaches(rule, NetRequest("https", "example.org", 443, path))


def test_a_rule_is_not_about_what_is_clearly_something_else() -> None:
    assert not rule_reaches("evil.test", NetRequest("https", "ok.test", 443, "/"))
    assert not rule_reaches("http://evil.test", NetRequest("https", "evil.test", 443, "/"))
    assert not rule_reaches("evil.test:80", NetRequest("https", "evil.test", 443, "/"))
    rule = "https://example.org/admin"
    assert not rule_reaches(rule, NetRequest("https", "example.org", 443, "/docs"))


@given(PATTERNS, REQUESTS)
def test_a_rule_reaches_at_least_what_the_same_text_grants(text: str, request_: NetRequest) -> None:
    assert rule_reaches(text, request_) or not any_reaches([text], request_)
