"""Who gets an answer from the dashboard, and who does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_dashboard.access import HEADERS, Access

ACCESS = Access(8798, token="t" * 43, session="s" * 43, form="f" * 43)
OURS = {"host": "127.0.0.1:8798", "cookie": f"sashizu-8798={ACCESS.session}"}


def status(method: str = "GET", path: str = "/", **headers: str) -> int:
    """What a request with our cookie gets, with these headers on top; 200 if it is answered."""
    given_ = {name.replace("_", "-"): value for name, value in headers.items()}
    refusal = ACCESS.refusal(method, path, {**OURS, **given_})
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize("host", ["127.0.0.1:8798", "localhost:8798", "LOCALHOST:8798"])
def test_this_machine_is_answered_under_its_names(host):
    assert status(host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8798", "127.0.0.1", "127.0.0.1:80", "", "127.0.0.1:8798.evil"],
)
def test_a_foreign_name_that_leads_here_opens_nothing(host):
    assert status(host=host) == 421


@given(st.text(max_size=60))
def test_no_other_host_is_ours(host):
    if host.lower() not in ACCESS.hosts:
        assert status(host=host) == 421


@pytest.mark.parametrize("path", ["/", "/runs/x", "/feed", "/sql", "/enterx", "/assets/../sql"])
@pytest.mark.parametrize(
    "cookie", ["", "sashizu-8798=", "sashizu-8798=x", f"sashizu-1={ACCESS.session}", '"\x00;;=='],
)  # fmt: skip
def test_nothing_is_shown_without_the_cookie(path, cookie):
    assert status(path=path, cookie=cookie) == 401


def test_the_token_is_no_cookie_and_the_cookie_no_token():
    assert status(cookie=f"sashizu-8798={ACCESS.token}") == 401
    assert not ACCESS.admits(ACCESS.session)
    assert ACCESS.admits(ACCESS.token)


@given(st.text())
def test_no_other_text_is_the_token(text):
    assert not ACCESS.admits(text)
    assert not ACCESS.owns(text)


def test_the_cookie_is_for_our_pages_alone():
    attributes = ACCESS.set_cookie().split("; ")[1:]

    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"]


def test_what_changes_something_comes_from_a_page_of_ours():
    assert status("POST", origin="http://127.0.0.1:8798") == 200
    assert status("POST", origin="http://127.0.0.1:8798", sec_fetch_site="same-origin") == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8798"},
        {"origin": "http://localhost:8798"},
        {"origin": "http://127.0.0.1:8798", "sec_fetch_site": "same-site"},
        {"origin": "http://127.0.0.1:8798", "sec_fetch_site": "cross-site"},
    ],
)
def test_a_form_of_another_page_does_nothing(headers):
    assert status("POST", path="/sql", **headers) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_can_lead_here_and_not_load_from_here(site):
    assert status(sec_fetch_site=site, sec_fetch_mode="navigate") == 200
    assert status(sec_fetch_site=site, sec_fetch_mode="no-cors") == 403
    assert status(sec_fetch_site=site, sec_fetch_mode="cors", path="/feed") == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE"])
def test_other_methods_are_none_of_ours(method):
    assert status(method, origin="http://127.0.0.1:8798") == 405


def test_each_dashboard_has_secrets_of_its_own_which_it_does_not_show():
    one, other = Access(1), Access(1)

    secrets = {one.token, one.session, one.form, other.token, other.session, other.form}

    assert len(secrets) == 6
    assert not any(secret in repr(one) for secret in secrets)


def test_scripts_of_others_and_markup_made_of_text_are_forbidden():
    policy = HEADERS["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert not any(name.startswith("access-control") for name in HEADERS)
