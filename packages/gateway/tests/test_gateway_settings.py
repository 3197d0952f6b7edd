"""Where requests go, and what programs are told."""

import json
import tomllib

import pytest
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.settings import Settings
from sashizu_core.testing import PluginContract
from sashizu_gateway.callers import Caller, caller_of
from sashizu_gateway.pointing import TOKEN_VARIABLE, pointed
from sashizu_gateway.session import usable
from sashizu_gateway.settings import GatewaySettings, UpstreamTable, gateway_settings, targets

URL = "http://127.0.0.1:8797"


class TestPlugin(PluginContract):
    module = "sashizu_gateway.plugin"


def test_without_settings_the_services_are_those_of_the_environment():
    env = {
        "OPENAI_API_KEY": "sk-first",
        "ANTHROPIC_API_KEY": "sk-second",
        "ANTHROPIC_BASE_URL": "https://proxy.example",
    }

    found = targets(GatewaySettings(), env)

    assert found["openai"].base_url == "https://api.openai.com/v1"
    assert found["anthropic"].base_url == "https://proxy.example/v1"
    assert (found["openai"].key, found["anthropic"].key) == ("sk-first", "sk-second")
    assert "sk-" not in repr(found)


def test_a_service_without_its_key_is_no_service():
    found = targets(GatewaySettings(), {"OPENAI_API_KEY": "one"})

    assert list(usable(found)) == ["openai"]
    with pytest.raises(UsageError, match="ANTHROPIC_API_KEY"):
        usable(targets(GatewaySettings(), {}))


def test_a_service_of_ones_own_needs_no_key():
    table = GatewaySettings(openai=UpstreamTable(base_url="http://127.0.0.1:8000/v1"))

    assert list(usable(targets(table, {}))) == ["openai"]


def test_headers_may_come_from_the_environment():
    own = UpstreamTable(base_url="https://x.example/v1", headers={"X-Team": "$TEAM", "x-a": "b"})
    table = GatewaySettings(openai=own)

    assert targets(table, {"TEAM": "red"})["openai"].headers == (("x-team", "red"), ("x-a", "b"))
    assert "TEAM is not set" in targets(table, {})["openai"].problem


def test_a_header_that_is_none_is_refused():
    table = GatewaySettings(openai=UpstreamTable(headers={"a b": "c"}))

    with pytest.raises(ConfigError, match="no name of a header"):
        targets(table, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://x"},
        {"base_url": "https://user:pass@x/v1"},
        {"base_url": "https://x/v1?key=1"},
        {"image_tokens": 0},
        {"unknown": 1},
    ],
)
def test_wrong_settings_are_told(wrong):
    with pytest.raises(ConfigError):
        gateway_settings(Settings({"gateway": {"openai": wrong}}))


def test_codex_is_told_by_its_own_configuration_and_gets_no_key():
    env = {"OPENAI_API_KEY": "real", "MY_KEY": "real", "PATH": "/bin"}

    start = pointed(["/opt/bin/codex", "exec", "hi"], URL, "token", env, ["MY_KEY"])

    assert start.client == "codex"
    assert (start.argv[0], *start.argv[-2:]) == ("/opt/bin/codex", "exec", "hi")
    flags = [word for word in start.argv[1:-2] if word != "-c"]
    config = tomllib.loads("\n".join(flags))
    provider = config["model_providers"][config["model_provider"]]
    assert provider["base_url"] == f"{URL}/v1"
    assert provider["wire_api"] == "responses"
    assert start.environment[provider["env_key"]] == "token"
    assert "real" not in json.dumps(dict(start.environment))


def test_claude_code_is_told_by_variables_and_asks_nobody_about_the_key():
    start = pointed(["claude", "-p", "hi"], URL, "token", {"ANTHROPIC_API_KEY": "real"})

    assert start.argv == ("claude", "-p", "hi")
    assert start.environment["ANTHROPIC_BASE_URL"] == URL
    assert start.environment["ANTHROPIC_AUTH_TOKEN"] == "token"
    assert "ANTHROPIC_API_KEY" not in start.environment


def test_any_other_program_is_told_by_the_usual_variables():
    start = pointed(["python", "x.py"], URL, "token", {"CODEX_API_KEY": "real"})

    assert start.environment["OPENAI_BASE_URL"] == f"{URL}/v1"
    assert start.environment["OPENAI_API_KEY"] == "token"
    assert start.environment["ANTHROPIC_API_KEY"] == "token"
    assert start.environment[TOKEN_VARIABLE] == "token"
    assert "CODEX_API_KEY" not in start.environment


def named(**headers: str) -> Caller:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return caller_of(lambda name: given.get(name, ""))


def test_without_headers_a_client_is_one_agent():
    assert named() == Caller()


def test_codex_tells_thread_parent_and_name():
    metadata = json.dumps({"agent_name": "/root/c1", "parent_thread_id": "root"})

    found = named(thread_id="t1", session_id="root", x_codex_turn_metadata=metadata)

    assert found == Caller("t1", "root", "root/c1")


def test_claude_code_tells_agents_of_a_session():
    assert named(x_claude_code_session_id="s") == Caller("s")
    found = named(x_claude_code_session_id="s", x_claude_code_agent_id="agent-0001")
    assert found == Caller("agent-0001", "s", "ent-0001")


def test_claude_code_is_led_to_no_other_service():
    env = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_BEARER_TOKEN_BEDROCK": "real", "HOME": "/h"}

    start = pointed(["claude"], URL, "token", env)

    assert start.environment["HOME"] == "/h"
    assert not {*env} - {"HOME"} & {*start.environment}


@pytest.mark.parametrize(
    ("env", "past"),
    [
        ({"https_proxy": "http://p"}, "127.0.0.1,localhost,::1"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "x.org"}, "x.org,127.0.0.1,localhost,::1"),
        ({"ALL_PROXY": "p", "no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost,::1"),
    ],
)
def test_no_proxy_is_asked_for_the_gateway(env, past):
    start = pointed(["python"], URL, "token", env)

    assert start.environment["no_proxy"] == start.environment["NO_PROXY"] == past


def test_without_proxies_nothing_is_said_of_them():
    assert "no_proxy" not in pointed(["python"], URL, "token", {}).environment


def test_the_variables_of_a_service_are_that_of_its_key_and_those_of_its_headers():
    table = GatewaySettings(
        openai={"key_env": "A_KEY", "headers": {"x-one": "$ONE", "x-two": "plain"}}
    )

    assert table.openai.variables == ("A_KEY", "ONE")
    assert table.anthropic.variables == ()
