"""Files that hold secrets are reached only where a grant names them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.grants import Grants, PathRequest, Rule, Subject
from sashizu_core.permissions import authorize, readable
from sashizu_core.secret_files import SECRET_FILES, secret_depth

SECRETS = [
    ".env",
    ".env.local",
    ".env.production",
    ".envrc",
    "server.pem",
    "tls.key",
    "store.p12",
    "store.pfx",
    "my.keystore",
    "a.jks",
    "id_rsa",
    "id_ed25519",
    "id_ecdsa",
    "id_dsa",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    ".aws/credentials",
    ".ssh/config",
    ".ssh/authorized_keys",
    ".gnupg/secring.gpg",
    ".kube/config",
    ".docker/config.json",
    ".config/gcloud/credentials.db",
]
HARMLESS = [
    "env.py",
    "src/environment.ts",
    "a.env.md",
    "keys.py",
    "key",
    "pem",
    "monkey",
    "id_rsa.pub",
    "npmrc",
    ".dockerignore",
    "docker/config.json",
    ".aws/config",
    ".kube/cache",
    "config.json",
    "x.pem.md",
    "ssh/config",
]


def allowed(path: str, access: str, *granted: str) -> bool:
    grants = Grants(fs_read=granted, fs_write=granted)
    request = PathRequest(path, access)  # type: ignore[arg-type]
    return authorize([request], Subject("id", "agent", (grants,))).allowed


@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_file_is_reached_only_by_a_grant_that_names_it(name: str, access: str) -> None:
    for path in (name, f"deep/down/{name}"):
        for granted in (".", "deep", "deep/down"):
            assert not allowed(path, access, granted)
    assert allowed(f"deep/{name}", access, ".", f"deep/{name}")


@pytest.mark.parametrize("name", SECRETS)
def test_absolute_grants_do_not_reach_secrets_either(name: str) -> None:
    for granted in ("/", "/home", "/home/me"):
        assert not allowed(f"/home/me/{name}", "read", granted)
    assert allowed(f"/home/me/{name}", "read", f"/home/me/{name}")


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_alike_is_read_as_ever(name: str) -> None:
    assert secret_depth(name) == -1
    assert allowed(name, "read", ".")


@pytest.mark.parametrize(
    "path",
    [
        ".ENV",
        "Server.PEM",
        "ID_RSA",
        ".Ssh/config",
        ".AWS/Credentials",
        ".env.",
        ".env ",
        ".env. .",
        ".env::$DATA",
        ".env:stream",
        "server.pem::$DATA",
        ".e\u200bnv",
        ".env\ufeff",
        "\u200d.env",
        ".en\ufe0fv",
        "．env",  # noqa: RUF001 - a wide dot
        ".ｅnv",  # noqa: RUF001 - a wide letter
        "ENV~1",
        "env~1.loc",
        "ID_ED2~1",
        "SSH~1/config",
        "config\\.env",
        "a\\.ssh\\config",
        "server.pem\u200b",
        "x.ＰＥＭ",  # noqa: RUF001 - wide letters
        "x.K\u0065y",
        "x.\u212aey",  # the sign of kelvin
    ],
)
@pytest.mark.parametrize("access", ["read", "write"])
def test_other_spellings_of_a_secrets_name_are_refused_too(path: str, access: str) -> None:
    assert not allowed(path, access, ".")
    assert not allowed(f"deep/{path}", access, "deep")


@pytest.mark.parametrize(
    "path",
    [
        ".git\u200c/config",
        ".GIT/hooks/post-checkout",
        "GIT~1/hooks/post-checkout",
        ".git./hooks/x",
        ".git /hooks/x",
        ".git::$INDEX_ALLOCATION/hooks/x",
        ".ɢit/x".replace("ɢ", "g"),
        ".ＧＩＴ/x",  # noqa: RUF001 - wide letters
        "agents.MD",
        "AGENTS.md.",
        ".claude:x",
    ],
)
def test_other_spellings_of_a_protected_name_are_not_written(path: str) -> None:
    assert not allowed(path, "write", ".")


def test_a_deny_rule_reaches_other_spellings() -> None:
    grants = Grants(fs_read=(".",), rules=(Rule("deny", "read", "private"),))
    for path in ("private", "PRIVATE/x", "private./x", "ｐrivate/x", "pri\u200bvate"):  # noqa: RUF001
        request = PathRequest(path, "read")
        assert authorize([request], Subject("id", "agent", (grants,))).verdict == "deny"


def test_a_ceiling_that_does_not_name_a_secret_keeps_it_from_a_child_that_does() -> None:
    wide, literal = Grants(fs_read=(".",)), Grants(fs_read=(".env",))
    request = PathRequest(".env", "read")
    assert not authorize([request], Subject("id", "agent", (wide, literal))).allowed
    assert authorize([request], Subject("id", "agent", (literal, literal))).allowed


def test_searches_leave_secrets_out() -> None:
    may_read = readable(Subject("id", "agent", (Grants(fs_read=(".",)),)))
    assert may_read(".")
    assert may_read("src/a.py")
    for name in SECRETS:
        assert not may_read(name)
        assert not may_read(f"src/{name}")
    assert may_read.roots() == (".",)


def test_the_refusal_says_that_it_is_about_secrets() -> None:
    decision = authorize(
        [PathRequest("a/.env", "read")], Subject("id", "agent", (Grants(fs_read=(".",)),))
    )
    assert "it may hold secrets, and no grant names it" in decision.reason


NAMES = st.sampled_from(["a", ".env", ".ssh", "x.pem", ".aws", "credentials", "B", "ENV~1", "é"])


@given(st.lists(NAMES, min_size=1, max_size=4), st.integers(0, 4))
def test_only_a_grant_at_or_beneath_the_innermost_secret_reaches_it(
    parts: list[str], count: int
) -> None:
    path, granted = "/".join(parts), "/".join(parts[:count]) or "."
    inner = secret_depth(path)
    expected = min(count, len(parts)) > inner if inner >= 0 else True
    assert allowed(path, "read", granted) == expected


@given(st.text(max_size=30))
def test_no_name_breaks_the_search_for_secrets(text: str) -> None:
    assert -1 <= secret_depth(text) <= text.count("/") + text.count("\\")


def test_every_kind_of_secret_file_is_found() -> None:
    for pattern in SECRET_FILES:
        assert secret_depth(pattern.replace("*", "x")) == pattern.count("/")
