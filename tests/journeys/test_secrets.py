"""Secrets in a project and in the environment: no run tells of them, anywhere."""

import json
import socket
import threading
from pathlib import Path

import pytest
from sashizu_core.control.wire import short_path

KEY = "sk" + "-proj-" + "q9Xw_7Rt" * 5
TOKEN = "ghp" + "_" + "a1B2" * 9
PASSWORD = "Tr0ub4dor3xyz"
SECRETS = (KEY, TOKEN, PASSWORD)

PLANTED = f'''\
"""Settings of the shop."""

import hashlib

TOKEN = "{TOKEN}"
password = "{PASSWORD}"
OPENAI = "{KEY}"


def check(given, seen=[]):
    try:
        return eval(given) == hashlib.md5(password.encode()).hexdigest()
    except:
        pass
'''
AGENT = """\
name: keeper
goal: Find what is wrong in the settings, and keep the talk.
tools:
  mcp: [read_file, list_files, grep, analyze]
  fs: {read: true}
policies:
  context: {retention: session}
"""
EVERYTHING = "select * from events"


@pytest.fixture
def shop(place):
    (place.project / "src/pay/settings.py").write_text(PLANTED)
    (place.project / ".sashizu/agents/keeper.yaml").write_text(AGENT)
    place.trust()
    return place


def texts(folder: Path) -> dict[str, str]:
    """Every file below a folder, as text."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_socket()]
    return {str(path): path.read_bytes().decode("utf-8", "replace") for path in found}


def assert_untold(told: dict[str, str]) -> None:
    for where, text in told.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret[:8]}… is told in {where}"


@pytest.mark.parametrize("content", ["hashes", "blobs"])
def test_an_offline_run_over_planted_secrets_tells_of_none(shop, content):
    done = shop.sashizu(
        *("delegate-parallel", "keeper,code-reviewer,sec-audit", "--scope", "src"),
        *("--json", "-o", "out.json", "-c", f"audit.content={content}"),
        OPENAI_API_KEY=KEY,
    )
    assert done.returncode == 0, done.stderr
    asked = shop.sashizu("audit", "sql", EVERYTHING, "--format", "json", "--limit", "100000")
    assert asked.returncode == 0, asked.stderr
    told = {
        "stdout": done.stdout,
        "stderr": done.stderr,
        "the report": (shop.project / "out.json").read_text(),
        "the store": asked.stdout,
        **texts(shop.home),
    }
    assert any("/audit/hot/" in where for where in told)
    assert any("/conversations/" in where for where in told)
    assert any("/blobs/" in where for where in told) is (content == "blobs")
    assert_untold(told)
    assert any(row["redactions"] for row in json.loads(asked.stdout)), "it did read them"


def test_what_a_model_repeats_is_told_by_nobody(shop, service):
    service.answer = f"The login is password = '{PASSWORD}', {KEY} and {TOKEN}."
    env = {**service.env, "OPENAI_API_KEY": KEY}
    done = shop.sashizu(
        "delegate", "plain", "--model", "openai/test", "-o", "out.json", "--json", **env
    )
    assert done.returncode == 0, done.stderr
    report = (shop.project / "out.json").read_text()
    assert "[redacted:known:" in report
    assert "[redacted:github-token:" in report
    assert "[redacted:assigned:" in report
    assert_untold({"stdout": done.stdout, "stderr": done.stderr, "o": report, **texts(shop.home)})


def test_what_a_service_says_of_a_key_is_not_repeated(shop, service):
    service.unknown = f"x-{TOKEN}"
    env = {**service.env, "OPENAI_API_KEY": KEY}
    done = shop.sashizu("-v", "delegate", "plain", "--model", f"openai/x-{TOKEN}", **env)
    assert done.returncode != 0
    assert "[redacted:github-token:" in done.stdout + done.stderr
    assert_untold({"stdout": done.stdout, "stderr": done.stderr, **texts(shop.home)})


def test_the_control_socket_of_a_run_tells_of_none(shop, service, waited):
    service.wait.clear()
    service.answer = f"It is {KEY}, {TOKEN}, password = '{PASSWORD}'"
    env = {**service.env, "OPENAI_API_KEY": KEY}
    goal = f"Log in with password={PASSWORD}, {TOKEN}"
    process = shop.start(
        "delegate", "plain", "--goal", goal, "--model", "openai/test", "--json", **env
    )
    assert service.asked.wait(60)
    heard: list[bytes] = []
    (path,) = (shop.home / "state/runs").glob("*.sock")

    def ask(what: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        with short_path(path) as short:
            connection.connect(short)
        connection.sendall(json.dumps({"do": what}).encode() + b"\n")
        return connection

    with ask("status") as connection:
        heard.append(connection.recv(1 << 20))
    with ask("events") as connection:
        listening = threading.Thread(
            target=lambda: heard.extend(iter(lambda: _next(connection), b""))
        )
        listening.start()
        with ask("status") as again:  # the request before it has been read by then
            again.recv(1 << 20)
        service.wait.set()
        code, out, err = waited(process)
        listening.join(60)
    assert code == 0, err
    assert len(heard) > 1
    assert_untold({"the socket": b"".join(heard).decode(), "stdout": out, "stderr": err})


def _next(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except OSError:
        return b""
