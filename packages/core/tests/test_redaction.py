"""Secrets in texts and values: which are found, what stands in their place, what is left alone."""

from __future__ import annotations

import base64
import json
import re
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sashizu_core.redaction import Redactor, formats
from sashizu_core.redaction.formats import ASSIGNMENTS, KINDS, secrets_in
from sashizu_core.redaction.formats import TOKENS as TOKEN_FORMATS
from sashizu_core.redaction.suspicion import may_hold_secret

# Put together here, so that no scanner of this file takes them for leaked ones.
TOKENS = {
    "github-token": "ghp" + "_" + "a1B2" * 9,
    "github-pat": "github" + "_pat_" + "11ABCDEFG0" * 4,
    "gitlab-token": "glpat" + "-" + "x9Yz_w8V" * 3,
    "openai-key": "sk" + "-proj-" + "Ab12_-Cd" * 6,
    "anthropic-key": "sk" + "-ant-api03-" + "Ab12_-Cd" * 8,
    "aws-key": "AKIA" + "IOSFODNN7EXAMPLE",
    "google-key": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "google-secret": "GOCSPX" + "-Ab12Cd34Ef56Gh78Ij90Kl12Mn34",
    "google-token": "ya29" + ".a0AfH6SMBxyz1234567890",
    "slack-token": "xoxb" + "-123456789012-abcdefABCDEF",
    "slack-app-token": "xapp" + "-1-A012345678-9876543210-abcdef",
    "slack-webhook": "hooks.slack.com/services/" + "T00000000/B00000000/abcdefghijklmnop",
    "stripe-key": "sk" + "_live_" + "a1B2c3D4" * 3,
    "stripe-restricted-key": "rk" + "_test_" + "a1B2c3D4" * 3,
    "stripe-webhook-secret": "whsec" + "_" + "a1B2c3D4" * 4,
    "huggingface-token": "hf" + "_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "npm-token": "npm" + "_" + "a1B2c3" * 6,
    "digitalocean-token": "dop_" + "v1_" + "a1b2c3d4" * 8,
    "shopify-token": "shp" + "at_" + "a1B2c3D4" * 4,
    "sendgrid-key": "SG" + "." + "aB1_" * 5 + "." + "aB1_" * 10,
    "vault-token": "hv" + "s." + "aB1_" * 8,
    "grafana-token": "gl" + "sa_" + "aB12" * 10,
    "age-key": "AGE-SECRET-" + "KEY-1" + "QZ12" * 14,
    "atlassian-token": "ATATT" + "3x" + "aB1_" * 10,
    "groq-key": "gs" + "k_" + "aB12" * 13,
    "xai-key": "xa" + "i-" + "aB12" * 20,
    "nvidia-key": "nv" + "api-" + "aB1_" * 16,
    "replicate-token": "r8" + "_" + "aB12" * 9,
    "linear-key": "lin_" + "api_" + "aB12" * 10,
    "pypi-token": "pypi" + "-AgEIcHlwaS5vcmc" + "Ab12_-Cd" * 8,
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N",
    "private-key": "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEpAIBAAKCAQEA\nq+/w==\n"
    "-----END RSA PRIVATE KEY-----",
}
ASSIGNED = [
    ('password = "{}"', "hunter2secret"),
    ("DB_PASSWORD={}", "correcthorsebatterystaple"),
    ('{{"api_key": "{}"}}', "a8d7f6a8s7df6"),
    ('{{\\"token\\": \\"{}\\"}}', "a8d7f6a8s7df6"),
    ("client_secret: {}", "8Q~xYz12.AbCd"),
    ("password: str = '{}'", "Tr0ub4dor&3x"),
    ("aws_secret_access_key = {}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("mysql --password {}", "hunter2secretX1"),
    ("<password>{}</password>", "hunter2Secret9"),
    ("postgres://bob:{}@db.example/x", "s3cr3t-pw"),
    ("Authorization: Bearer {}", "abc.def-123456789"),
    ("Authorization: Basic {}", "Ym9iOnMzY3IzdC1wdw=="),
    ("Set-Cookie: session_token={}; path=/", "a8d7f6a8s7df6x"),
    ('config["password"] = "{}"', "hunter2secret"),
]
HARMLESS = [
    'password = getpass.getpass("Password: ")',
    'token: str = field(default="")',
    "self.token = token_from(self.response)",
    "tokens = tokenizer.encode(text)",
    'token = os.environ["GITHUB_TOKEN"]',
    "password=${DB_PASSWORD}",
    "if password == other_password:",
    "max_tokens: 12345678",
    '"token": "string"',
    "The secret: patience and more patience.",
    "see https://example.org/a:b/c@d",
    "a task-oriented, risk-averse disk-usage-monitor",
    "sk-learn and scikit-learn",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
]


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("around", ["{}", "x {} y", '"{}"', "\\n{}\\n", "key={},", "({})", "ü{}ü"])
def test_a_token_of_a_known_format_is_found_wherever_it_stands(
    redactor: Redactor, kind: str, around: str
) -> None:
    clean = redactor.text(around.format(TOKENS[kind]))
    assert TOKENS[kind] not in clean
    assert re.fullmatch(
        re.escape(around.format("MARK")).replace("MARK", r"(\[redacted:[a-z-]+:[0-9a-f]{8}\])"),
        clean,
    )


@pytest.mark.parametrize("kind", TOKENS)
def test_the_mark_of_a_token_says_its_kind(redactor: Redactor, kind: str) -> None:
    assert redactor.text(TOKENS[kind]).startswith(f"[redacted:{kind}:")


@pytest.mark.parametrize(("text", "secret"), ASSIGNED)
def test_a_secret_that_is_assigned_to_a_telling_name_is_found(
    redactor: Redactor, text: str, secret: str
) -> None:
    clean, count = redactor.counted(text.format(secret))
    assert secret not in clean
    assert count == 1
    before, after = text.format("\0").split("\0")
    assert clean.startswith(before)
    assert clean.endswith(after)


@pytest.mark.parametrize("text", HARMLESS)
def test_code_and_prose_are_left_as_they_are(redactor: Redactor, text: str) -> None:
    assert redactor.counted(text) == (text, 0)


def test_a_secret_written_with_escapes_of_json_is_found(redactor: Redactor) -> None:
    hidden = "".join(f"\\u{ord(char):04x}" for char in TOKENS["aws-key"])
    assert "\\u0041" not in redactor.text(f'{{"note": "{hidden}"}}')


# --- marks ----------------------------------------------------------------------------------------


def test_equal_secrets_have_equal_marks_and_other_runs_have_others() -> None:
    first, second = Redactor(), Redactor()
    token = TOKENS["github-token"]
    assert first.text(f"{token} {token}") == " ".join([first.text(token)] * 2)
    assert first.text(token) != first.text(token.replace("a", "c"))
    assert first.text(token) != second.text(token)
    assert Redactor(key=b"k" * 32).text(token) == Redactor(key=b"k" * 32).text(token)


def test_every_form_of_a_known_value_has_the_same_mark() -> None:
    value = 'pass/word "of" mine'
    redactor = Redactor([value])
    written = [
        value,
        json.dumps(value)[1:-1],
        quote(value, safe=""),
        quote(value, safe="").lower(),
        value.encode().hex(),
    ]
    assert len({redactor.text(form) for form in written}) == 1


def test_a_mark_that_somebody_else_wrote_hides_nothing() -> None:
    redactor = Redactor(["mysecretvalue1"])
    clean = redactor.text("[redacted:mysecretvalue1:00000000]")
    assert "mysecretvalue1" not in clean
    token = TOKENS["github-token"]
    assert token not in redactor.text(f"[redacted:{token}:00000000]")


# --- known values ---------------------------------------------------------------------------------

VALUES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cs", "Cc", "Z"]),
    min_size=8,
    max_size=40,
)
TEXTS = st.text(max_size=60)


def every_form(value: str) -> list[str]:
    data = value.encode()
    shifted = [base64.b64encode(b"x" * n + data + b"y" * 3).decode() for n in range(3)]
    urlsafe = [base64.urlsafe_b64encode(b"x" * n + data + b"y" * 3).decode() for n in range(3)]
    return [
        value,
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        json.dumps({"a": json.dumps({"b": value})}),
        quote(value),
        quote(value, safe=""),
        data.hex(),
        base64.b64encode(data).decode(),
        *shifted,
        *urlsafe,
    ]


@given(st.lists(VALUES, min_size=1, max_size=4), st.lists(TEXTS, min_size=2, max_size=6), st.data())
def test_no_known_value_survives_in_any_text(
    values: list[str], texts: list[str], data: st.DataObject
) -> None:
    redactor = Redactor(values)
    value = data.draw(st.sampled_from(values))
    text = value.join(texts)
    clean = redactor.text(text)
    for known in values:
        if not any(known in f"[redacted:{kind}:" for kind in KINDS):
            assert known not in clean or known in "".join(re.findall(r"\[redacted:[^\]]*\]", clean))


@given(VALUES, st.integers(0, 11), TEXTS, TEXTS)
def test_no_form_of_a_known_value_survives(
    value: str, number: int, before: str, after: str
) -> None:
    form = every_form(value)[number]
    clean = Redactor([value]).text(f"{before} {form} {after}")
    core = form.strip('"')
    if len(core) >= 20:  # in the middle of it is what only the value can have written
        assert core[6:-6] not in clean


def test_short_values_and_words_of_marks_are_not_looked_for() -> None:
    text = "short redacted password known"
    assert Redactor(["short", "redacted", "assigned"]).text(text) == text


def test_overlapping_values_leave_no_part_of_either() -> None:
    clean = Redactor(["AAAABBBB1", "BBBB1CCCC"]).text("xAAAABBBB1CCCCx")
    assert re.fullmatch(r"x\[redacted:known:[0-9a-f]{8}\]x", clean)


def test_a_model_is_shown_no_key_but_words_that_happen_to_be_passwords() -> None:
    redactor = Redactor(["sk-own-0123456789abcdef", "postgres"])
    shown = redactor.without_known("postgres uses sk-own-0123456789abcdef and password=aB3dEfgh1")
    assert shown.startswith("postgres uses [redacted:known:")
    assert shown.endswith("password=aB3dEfgh1")


# --- any text -------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *TOKENS.values(),
        *[text.format(secret) for text, secret in ASSIGNED],
        *[
            "password=",
            "token: ",
            "Bearer ",
            "://a:b",
            "@",
            "[redacted:",
            "[redacted:jwt:0a1b2c3d]",
        ],
        *[
            "sk-",
            "A1b2C3d4E5",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            '"',
            "=",
        ],
        *[
            "\\",
            "\\n",
            "\n",
            " ",
            "x",
            "AKIA",
            "eyJ",
            ".",
            "ghp_",
            "-",
            "--token ",
            "known-value-42",
        ],
    ]
)


@settings(max_examples=400)
@given(st.lists(PIECES | st.text(max_size=4), max_size=12))
@example(["password=", "A1b2C3d4E5", "ghp_" + "a1B2" * 9, "sk-" + "A1b2C3d4E5" * 3])
def test_what_was_redacted_once_is_not_redacted_again(pieces: list[str]) -> None:
    redactor = Redactor(["known-value-42"])
    once = redactor.text("".join(pieces))
    assert redactor.counted(once) == (once, 0)


@given(st.text(alphabet=string.ascii_letters + string.digits + " .,;:!?'\n(){}", max_size=200))
def test_what_is_between_secrets_stays(text: str) -> None:
    redactor = Redactor()
    clean = redactor.text(text)
    position = 0
    for part in re.split(r"\[redacted:[a-z-]+:[0-9a-f]{8}\]", clean):
        position = text.index(part, position) + len(part)


@settings(max_examples=400)
@given(st.lists(PIECES | st.text(max_size=6), max_size=12))
def test_looking_first_overlooks_nothing(pieces: list[str]) -> None:
    text = "".join(pieces)
    plain = text.encode("latin-1", "replace").decode("latin-1")
    if not may_hold_secret(plain):
        assert TOKEN_FORMATS.search(text) is None
        assert ASSIGNMENTS.search(plain.lower()) is None


@given(st.lists(PIECES | st.text(max_size=6), max_size=12), st.integers(1, 40))
def test_parts_of_a_text_hold_what_the_whole_holds(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    whole = sorted(secrets_in(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_PART", size)
        assert sorted(secrets_in(text)) == whole


HOSTILE = [
    *["sk-", "sk- ", "token", "token=", "token = ", 'password:"', "eyJ", "eyJabcdefgh.", "a", "-"],
    *["eyJabcdefgh.eyJ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "://", "://a:", "://a:b"],
    *["--", "--a", "bearer ", "basic ", '"', "\\", "ghp_", "[redacted:", "[redacted:jwt:00000000]"],
    *["AKIA", "é", "token é", "\\u0041", "secret_access_key ", "whsec_", "p:", "s", "github_pat_"],
    *[
        "--token ",
        "gl",
        "password" + " " * 8,
        "-----BEGIN PRIVATE KEY-----" + "a" * 60,
        "[",
        "\ud800",
    ],
    *["-----END PRIVATE KEY", "password=aB3dEfgh1 ", "://a:bbb@", "hooks.slack.com/services/"],
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_takes_more_than_its_share_of_time(piece: str) -> None:
    redactor = Redactor(["a-known-value-0123456789", "another one that is known"])

    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            redactor.counted(text)
            best = min(best, time.process_time() - started)
        return best

    small, large = seconds(100_000), seconds(400_000)
    assert large < max(12 * small, 0.5), "time grows faster than the text"
    assert large < 2.0


def test_a_text_of_nothing_but_secrets_is_taken_out_as_a_whole(redactor: Redactor) -> None:
    token = TOKENS["npm-token"]
    clean, count = redactor.counted(f"{token} " * 10_000)
    assert re.fullmatch(r"\[redacted:crowded:[0-9a-f]{8}\]", clean)
    assert count == 1
    assert redactor.text(f"{token} " * 100).count("[redacted:npm-token:") == 100


# --- values and events ----------------------------------------------------------------------------


def test_values_under_telling_names_are_taken_out_and_numbers_stay(redactor: Redactor) -> None:
    value = {
        "password": "abc",
        "API_KEY": "short",
        "tokens": 1234,
        "nested": [{"authToken": "x", "name": "y"}, ("secret", None, 1.5, True)],
    }
    clean = redactor.value(value)
    assert clean["password"].startswith("[redacted:named:")
    assert clean["API_KEY"].startswith("[redacted:named:")
    assert clean["tokens"] == 1234
    assert clean["nested"][0]["authToken"].startswith("[redacted:named:")
    assert clean["nested"][0]["name"] == "y"
    assert clean["nested"][1] == ["secret", None, 1.5, True]
    assert redactor.value(clean) == clean


def test_names_of_members_are_looked_at_too() -> None:
    assert Redactor(["known-value-42"]).value({"known-value-42": 1}).keys() != {"known-value-42"}


def test_an_event_counts_what_was_taken_out_and_keeps_ids_and_numbers() -> None:
    fields = {
        "run_id": "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b",
        "args_sha256": "ab" * 32,
        "tokens": 42,
        "tool": "known-value-42",
        "decision_reason": "password=aB3dEfgh1 is not allowed",
        "attrs": {"left": None, "closed": False, "list": ["known-value-42"]},
    }
    clean = Redactor(["known-value-42"]).fields(fields)
    assert clean["redactions"] == 3
    assert {name: clean[name] for name in ("run_id", "args_sha256", "tokens")} == {
        name: fields[name] for name in ("run_id", "args_sha256", "tokens")
    }
    assert "known-value-42" not in json.dumps(clean)
    assert "aB3dEfgh1" not in json.dumps(clean)


def test_an_event_without_secrets_is_not_changed(redactor: Redactor) -> None:
    fields = {"tool": "read_file", "step": 3, "attrs": {"path": "a.py", "n": [1, 2]}}
    assert redactor.fields(fields) == fields


def test_values_that_are_nested_without_end_end() -> None:
    value: object = "known-value-42"
    for _ in range(500):
        value = [value]
    assert "known-value-42" not in repr(Redactor(["known-value-42"]).value(value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(JSON, VALUES)
def test_no_known_value_survives_in_any_event(value: object, secret: str) -> None:
    planted = json.loads(json.dumps({"attrs": {"a": value}, "path": "x"}).replace("x", "x"))
    planted["attrs"]["b"] = [f"before{secret}after", {secret: secret}]
    planted["path"] = f"dir/{secret}"
    planted["tool"] = secret
    clean = Redactor([secret], key=b"k" * 32).fields(planted)
    if not any(secret in f"[redacted:{kind}:" for kind in KINDS):
        assert secret not in [*clean["attrs"]["b"][1], *clean["attrs"]["b"][1].values()]
        assert secret not in (clean["tool"], clean["path"], clean["attrs"]["b"][0])
        assert f"/{secret}" not in clean["path"]


def test_a_secret_that_is_made_later_is_taken_out_from_then_on() -> None:
    redactor = Redactor(["the-first-secret-0123"])
    text = "Xa-later-secret-4567 and Xthe-first-secret-0123"
    assert "a-later-secret" in redactor.text(text)

    redactor.learn("a-later-secret-4567")

    assert "a-later-secret" not in redactor.text(text)
    assert "the-first-secret" not in redactor.text(text)
