"""Endpoints from `[models.NAME]` and the environment."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.settings import Settings, load_settings
from sashizu_core.types import ModelInfo, Price
from sashizu_openai.client import Client
from sashizu_openai.endpoints import Endpoint, Patience, read_endpoints
from sashizu_openai.offers import model_specs
from sashizu_openai.tables import PriceTable
from sashizu_openai.windows import window_of


def endpoint(env: dict[str, str] | None = None, /, name: str = "mine", **table: object) -> Endpoint:
    if name != "openai":
        table = {"base_url": "https://models.example/v1", **table}
    found = read_endpoints(Settings(tables={"models": {name: table}}), env or {})
    return next(one for one in found if one.name == name)


def test_without_settings_there_is_openai_alone() -> None:
    (found,) = read_endpoints(Settings(), {"OPENAI_API_KEY": "sk-1"})
    assert found == Endpoint(
        "openai",
        "https://api.openai.com/v1",
        "responses",
        "max_output_tokens",
        key="sk-1",
        counts=True,
        patience=Patience(10, 120, 90, 600),
    )


def test_another_base_url_speaks_chat_completions() -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://localhost:8000/v1/"}
    (found,) = read_endpoints(Settings(), env)
    assert found.base_url == "http://localhost:8000/v1"
    assert (found.api, found.output_cap_name, found.counts) == ("chat", "max_tokens", False)


@pytest.mark.parametrize(
    ("table", "api", "cap"),
    [
        ({"base_url": "https://eu.api.openai.com/v1"}, "responses", "max_output_tokens"),
        (
            {"base_url": "https://api.openai.com/v1", "api": "chat"},
            "chat",
            "max_completion_tokens",
        ),
        ({"base_url": "https://api.openai.com.evil.example/v1"}, "chat", "max_tokens"),
        ({"api": "responses"}, "responses", "max_output_tokens"),
        ({"output_cap_name": "max_completion_tokens"}, "chat", "max_completion_tokens"),
    ],
)
def test_api_and_cap_follow_the_endpoint(table: dict[str, str], api: str, cap: str) -> None:
    found = endpoint(**table)
    assert (found.api, found.output_cap_name) == (api, cap)


def test_prices_are_read_in_usd_per_million_and_rounded_up() -> None:
    price = {"input": 0.0375, "output": 10, "cache_read": 0.005, "per_request": 0.01}
    assert endpoint(price=price).price == Price(
        input=38, output=10_000, cache_read=5, per_request=10_000_000, source="sashizu.toml"
    )


@given(st.decimals(0, 1000, places=6, allow_nan=False))
def test_a_price_is_never_rounded_in_our_favour(usd: Decimal) -> None:
    price = PriceTable(input=usd, output=usd).price()
    assert Decimal(price.input) / 1000 >= usd
    assert Decimal(price.input - 1) / 1000 < usd


@pytest.mark.parametrize(
    ("local", "expected"),
    [(True, (True, None)), (False, (False, None)), ({"slots": 4}, (True, 4)), ({}, (True, None))],
)
def test_local_marks_servers_that_cost_nothing(local: object, expected: object) -> None:
    found = endpoint(local=local)
    assert (found.local, found.slots) == expected


def test_headers_may_come_from_the_environment() -> None:
    headers = {"X-Team": "review", "api-key": "$AZURE_KEY"}
    found = endpoint({"AZURE_KEY": "secret-0123"}, headers=headers)
    assert dict(found.headers) == {"X-Team": "review", "api-key": "secret-0123"}
    assert "AZURE_KEY is not set" in endpoint({}, headers=headers).problem


def test_neither_key_nor_headers_are_ever_shown() -> None:
    found = endpoint({"K": "sk-secret-1"}, key_env="K", headers={"api-key": "secret-0123"})
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"base_ur": "x"}, "did you mean 'base_url'"),
        ({"base_url": "ftp://x/v1"}, "is no base URL"),
        ({"base_url": "localhost:8000"}, "is no base URL"),
        ({"base_url": "https://user:pass@x/v1"}, "key_env"),
        ({"base_url": "https://x/v1?api-version=1"}, "without '?'"),
        ({"base_url": "http://[::1/v1"}, "Invalid IPv6"),
        ({"base_url": "http://x:99999/v1"}, "ort"),
        ({"api": "chats"}, "'responses' or 'chat'"),
        ({"context_window": 0}, "greater than or equal to 1"),
        ({"context_window": "many"}, "valid integer"),
        ({"price": {"input": 1}}, "models.mine.price.output"),
        ({"price": {"input": -1, "output": 1}}, "greater than or equal to 0"),
        ({"price": {"input": "nan", "output": 1}}, "finite"),
        ({"local": {"slots": 0}}, "greater than or equal to 1"),
        ({"local": "yes"}, "models.mine.local"),
        ({"idle_timeout": "soon"}, "90s, 15m or 2h"),
        ({"idle_timeout": 90}, "write a duration"),
        ({"output_cap_name": "max"}, "max_completion_tokens"),
        ({"headers": {"bad name": "x"}}, "no name of a header"),
        ({"headers": {"X": "a\nb"}}, "no header can carry"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(table: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoint(**table)
    assert said in str(caught.value)
    assert "mine" in str(caught.value)


def test_a_table_without_a_base_url_says_so() -> None:
    with pytest.raises(ConfigError, match=r"\[models.mine\] has no base_url"):
        read_endpoints(Settings(tables={"models": {"mine": {}}}), {})


@pytest.mark.parametrize("name", ["a/b", "*", "", "a b"])
def test_a_name_that_no_model_could_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="a name is"):
        endpoint(name=name)


def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "sashizu.toml").write_text('[models.mine]\nbase_url = "https://x/v1"\nkeyenv = "A"')
    settings = load_settings(tmp_path / "project", env={}, config=tmp_path, plugin_names=())
    with pytest.raises(ConfigError, match=r"sashizu\.toml:3:1: .*did you mean 'key_env'"):
        read_endpoints(settings, {})


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "set the environment variable OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "  "}, "set the environment variable OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "sk-\x00secret"}, "no header can carry"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "nonsense"}, "OPENAI_BASE_URL"),
    ],
)
async def test_what_the_environment_lacks_is_told_when_the_model_is_asked_for(
    env: dict[str, str], said: str
) -> None:
    (spec,) = model_specs(Settings(), env)
    with pytest.raises(UsageError, match=said) as caught:
        async with spec.open("openai/gpt-6-sol"):
            pass
    assert "secret" not in str(caught.value)


def test_each_endpoint_offers_any_model_and_the_one_it_names() -> None:
    tables = {
        "local": {"base_url": "http://localhost:11434/v1", "model": "qwen3", "local": True},
        "far": {"base_url": "https://far.example/v1", "api": "responses"},
    }
    specs = {spec.name: spec for spec in model_specs(Settings(tables={"models": tables}), {})}
    assert list(specs) == ["openai/*", "local/*", "local", "far/*"]
    assert specs["local"].summary == (
        "qwen3 at http://localhost:11434/v1 (local, Chat Completions)"
    )
    assert specs["far/*"].summary == "any model at https://far.example/v1 (Responses)"


async def opened(settings: Settings, env: dict[str, str], name: str) -> ModelInfo:
    prefix = name.partition("/")[0]
    specs = {spec.name: spec for spec in model_specs(settings, env)}
    spec = specs[name] if name in specs else specs[f"{prefix}/*"]
    async with spec.open(name) as model:
        return model.info


async def test_a_model_is_known_by_what_it_was_asked_for() -> None:
    table = {
        "base_url": "https://far.example/v1",
        "model": "org/big",
        "context_window": 4096,
        "max_output_tokens": 128,
        "efforts": ["minimal", "high"],
        "price": {"input": 1, "output": 2},
    }
    settings = Settings(tables={"models": {"far": table}})
    expected = ModelInfo(
        "far",
        "far",
        endpoint="https://far.example/v1",
        context_window=4096,
        max_output_tokens=128,
        efforts=("minimal", "high"),
        min_output_tokens=128,
        price=Price(1000, 2000, source="sashizu.toml"),
    )
    assert await opened(settings, {}, "far") == expected
    assert (await opened(settings, {}, "far/other/one")).name == "far/other/one"


async def test_the_windows_of_openais_own_models_are_known() -> None:
    env = {"OPENAI_API_KEY": "k"}
    info = await opened(Settings(), env, "openai/gpt-5-mini-2025-08-07")
    assert (info.context_window, info.max_output_tokens) == (400_000, 128_000)
    unknown = await opened(Settings(), env, "openai/gpt-99")
    assert (unknown.context_window, unknown.max_output_tokens) == (None, None)
    assert (info.efforts, unknown.efforts) == (("low", "medium", "high"), ())
    elsewhere = {**env, "OPENAI_BASE_URL": "http://localhost:1/v1"}
    assert (await opened(Settings(), elsewhere, "openai/gpt-5-mini")).context_window is None


@pytest.mark.parametrize("name", ["openai/", "openai/*"])
async def test_a_prefix_alone_is_no_model(name: str) -> None:
    (spec,) = model_specs(Settings(), {"OPENAI_API_KEY": "k"})
    with pytest.raises(UsageError, match="names no model"):
        async with spec.open(name):
            pass


def test_a_model_with_a_similar_name_has_no_window() -> None:
    assert window_of("gpt-5-miniature") is None
    assert window_of("gpt-5-2025-08-07") == window_of("gpt-5")


# --- headers --------------------------------------------------------------------------------------


FRAMING = ["Content-Length", "transfer-encoding", "Connection", "Proxy-Authorization", "Expect"]


@pytest.mark.parametrize("name", [*FRAMING, "TE", "Upgrade", "Keep-Alive", "Trailer"])
def test_headers_that_say_where_a_request_ends_are_not_the_users(name) -> None:
    settings = Settings(
        tables={"models": {"l": {"base_url": "http://h/v1", "headers": {name: "3"}}}}
    )
    with pytest.raises(ConfigError, match=rf"headers\.{name}.*sashizu"):
        read_endpoints(settings, {})


@pytest.mark.parametrize("name", FRAMING)
def test_nor_does_the_environment_name_them(name, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Own: 1\n{name}: 3")
    (endpoint,) = read_endpoints(Settings(), {"OPENAI_API_KEY": "sk-x"})
    with pytest.raises(UsageError, match=rf"OPENAI_CUSTOM_HEADERS.*{name}"):
        Client(endpoint)


async def test_every_header_is_sent_once_however_it_is_spelt(server, connect, chat, ask) -> None:
    heads: list[str] = []

    async def handler(connection, request):
        heads.append(request.head)
        await connection.answer(200, chat.stream("Hello."))

    server.serves(handler)
    own = {"host": "other.example", "ACCEPT": "*/*", "authorization": "Basic x", "X-Own": "1"}
    model = await connect(server.url, headers=own)
    await model.complete(ask())
    names = [line.partition(":")[0].lower() for line in heads[0].splitlines()[1:] if line]
    assert sorted(names) == sorted(set(names))
    headers = server.last.headers
    assert (headers["host"], headers["accept"]) == ("other.example", "*/*")
    assert headers["authorization"] == "Basic x"


def test_the_environment_replaces_what_it_spells_otherwise(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Basic x\nuser-agent: me\nHOST: o")
    (endpoint,) = read_endpoints(Settings(), {"OPENAI_API_KEY": "sk-x"})
    lines = Client(endpoint)._lines.decode().lower()
    assert lines.count("authorization:") == lines.count("user-agent:") == lines.count("host:") == 1
    assert "host: o\r\n" in lines


# --- hosts ----------------------------------------------------------------------------------------


NO_HOSTS = ["bücher..de", "a..de", "exa mple", "ex\x01", "-ü", "a" * 64, "x%41", "é" * 60]


@pytest.mark.parametrize("host", [*NO_HOSTS, "a\nb", "a\tb", "[::1%25eth0]", "fe80::1", "h:99999"])
def test_a_base_url_without_a_host_that_can_be_asked_is_refused(host) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        endpoint(base_url=f"http://{host}/v1")
    (found,) = read_endpoints(Settings(), {"OPENAI_BASE_URL": f"http://{host}/v1"})
    assert "OPENAI_BASE_URL" in found.problem


@pytest.mark.parametrize(
    "host", ["my_server", "h.", "10.0.0.1:80", "[::1]:8080", "bücher.de", "xn--a"]
)
def test_a_base_url_may_have_any_name_that_networks_use(host) -> None:
    Client(endpoint(base_url=f"http://{host}/v1"))


@given(st.text(max_size=20), st.text(max_size=10))
def test_whatever_passes_for_a_base_url_can_be_sent(host: str, path: str) -> None:
    try:
        found = endpoint(base_url=f"https://{host}/{path}")
    except ConfigError:
        return
    client = Client(found)
    first = client._lines.partition(b"\r\n")[0].removeprefix(b"Host: ")
    assert all(0x21 <= byte <= 0x7E for byte in first + client._path.encode())
