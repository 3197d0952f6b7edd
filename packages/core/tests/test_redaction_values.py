"""What is known to be secret: variables of the environment, and patterns of the operator."""

from __future__ import annotations

import re
import time

import pytest
from pydantic import ValidationError
from sashizu_core.redaction import named_like_a_secret, secret_variables
from sashizu_core.redaction.own_patterns import compiled
from sashizu_core.secret_tables import SecretsSettings

SECRET_NAMES = [
    *["OPENAI_API_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"],
    *["SECRET_KEY_BASE", "npm_config__authToken", "HF_TOKEN", "STRIPE_KEY", "REDIS_PASS", "DB_PWD"],
    *["SMTP_PASSWORD_2", "MY_CREDENTIALS", "NPM_AUTH", "GH_PAT", "X-Api-Key", "cookie", "Token"],
]
PLAIN_NAMES = [
    *["PATH", "HOME", "LANG", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "AUTHOR"],
    *["GIT_AUTHOR_NAME", "MONKEY", "COMPASS", "EDITOR", "PATTERN"],
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_tells_of_a_secret_is_known(name: str) -> None:
    assert named_like_a_secret(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_other_names_tell_of_none(name: str) -> None:
    assert not named_like_a_secret(name)


def test_counts_and_paths_that_exist_are_no_secrets() -> None:
    env = {
        "MAX_TOKENS": "12345678",
        "SSH_KEY": "/dev/null",
        "PWD": "/somewhere",
        "A_KEY": "value-1",
    }
    assert secret_variables(env) == ["value-1"]


def test_the_operator_can_name_further_variables() -> None:
    env = {"DATABASE_URL": "secret-url", "CORP_ONE": "one", "CORP_TWO": "two", "OTHER": "x"}
    assert secret_variables(env, ["DATABASE_URL", "CORP_*"]) == ["secret-url", "one", "two"]


@pytest.mark.parametrize(
    "pattern",
    [
        r"ACME-[0-9A-F]{32}",
        r"corp_[a-z0-9]+",
        r"\bemp-\d{4,8}\b",
        r"(?:alpha|beta)-[a-z]{8}",
        r"x(?P<name>y{1,20})z",
        r"acct:\s{0,4}\d{10}",
        r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3}",
    ],
)
def test_bounded_patterns_are_taken(pattern: str) -> None:
    assert isinstance(compiled(pattern), re.Pattern)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a+)+$", "only for the end"),
        (r"(a|aa)*b", "only for the end"),
        (r".*secret", "only for the end"),
        (r"a+b", "only for the end"),
        (r"(?:x{1,40}){1,40}y", "could look at"),
        (r"[a-z]{1,200}[a-z]{1,200}x", "could look at"),
        (r"(a|ab|abc){1,30}x", "could look at"),
        (r"(\w)\1", "not among"),
        (r"(?=a)b", "not among"),
        (r"(?<!a)b", "not among"),
        (r"a*", "matches nothing"),
        (r"x{0,4}", "matches nothing"),
        (r"", "matches nothing"),
        (r"(", "no regular expression"),
        (r"[z-a]", "no regular expression"),
        ("(" * 5000 + "a" + ")" * 5000, "no regular expression"),
    ],
)
def test_patterns_that_could_take_long_are_refused(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compiled(pattern)


@pytest.mark.parametrize("pattern", [r"[a-z]{1,31}X", r"(?:a|b){1,5}X", r"a{1,31}X", r"aX+"])
def test_what_is_taken_takes_time_in_proportion_to_the_text(pattern: str) -> None:
    expression = compiled(pattern)

    def seconds(size: int) -> float:
        started = time.process_time()
        expression.search("a" * size)
        return time.process_time() - started

    assert seconds(200_000) < max(20 * seconds(50_000), 2.0)


def test_the_settings_say_which_pattern_is_refused() -> None:
    with pytest.raises(ValidationError, match="only for the end"):
        SecretsSettings.model_validate({"redact": ["fine-[0-9]{4}", "(a+)+$"]})
    assert SecretsSettings(redact=("fine-[0-9]{4}",)).patterns[0].search("x fine-1234")
