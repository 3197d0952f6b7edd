"""Connections: refused, proxied, encrypted, kept, cancelled."""

import socket
import threading
from base64 import b64encode

import anyio
import pytest
from anyio.abc import SocketAttribute
from sashizu_core.errors import ModelError, UsageError
from sashizu_core.settings import Settings
from sashizu_openai.offers import model_specs


def good(wire):
    async def handler(connection, request):
        await connection.events(wire.stream("Hello."))
        await connection.end()

    return handler


async def unreached(model, ask) -> ModelError:
    with pytest.raises(ModelError) as caught, anyio.fail_after(5):
        await model.complete(ask())
    assert (caught.value.fault, caught.value.sent) == ("connect", False)
    assert caught.value.retryable
    return caught.value


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_a_refused_connection_costs_nothing(connect, wire, ask, free_port) -> None:
    model = await connect(f"http://127.0.0.1:{free_port}/v1", api=wire.api)
    failure = await unreached(model, ask)
    assert f"127.0.0.1:{free_port} refused the connection" in str(failure)


async def test_too_many_open_files_are_told_as_what_they_are(connect, wire, ask, free_port) -> None:
    resource = pytest.importorskip("resource")
    model = await connect(f"http://127.0.0.1:{free_port}/v1", api=wire.api)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        failure = await unreached(model, ask)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in str(failure)


async def test_a_name_that_does_not_resolve_costs_nothing(connect, wire, ask, monkeypatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    model = await connect("http://models.invalid/v1", api=wire.api)
    assert "the name of models.invalid cannot be resolved" in str(await unreached(model, ask))


async def test_a_connection_that_never_stands_is_given_up(connect, wire, ask, monkeypatch) -> None:
    released = threading.Event()

    def slow(*args: object, **kwargs: object) -> list[object]:
        if args[5:] and args[5] & socket.AI_NUMERICHOST:  # trio asks first without a thread
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        released.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        model = await connect("http://models.invalid/v1", api=wire.api, connect_timeout="0.2s")
        assert "no connection within 0.2 s" in str(await unreached(model, ask))
    finally:
        released.set()


async def test_https_to_a_server_without_it_costs_nothing(connect, wire, ask) -> None:
    async def speak_plainly(stream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, speak_plainly)
        port = listener.extra(SocketAttribute.local_port)
        model = await connect(f"https://127.0.0.1:{port}/v1", api=wire.api)
        assert "TLS with 127.0.0.1" in str(await unreached(model, ask))
        tasks.cancel_scope.cancel()


async def test_an_unknown_certificate_is_not_accepted(secure, connect, wire, ask) -> None:
    secure.serves(good(wire))
    failure = await unreached(await connect(secure.url, api=wire.api), ask)
    assert "certificate" in str(failure)
    assert "SSL_CERT_FILE" in str(failure)
    assert not secure.requests


async def test_an_own_authority_is_named_by_ssl_cert_file(
    secure, connect, wire, ask, authority, tmp_path, monkeypatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    secure.serves(good(wire))
    model = await connect(secure.url, api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."


async def tunnel(connection, request) -> None:
    """What a proxy does with CONNECT."""
    host, _, port = request.target.rpartition(":")
    upstream = await anyio.connect_tcp(host, int(port))
    async with upstream, anyio.create_task_group() as tasks:
        await connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def copy(source, target) -> None:
            try:
                while True:
                    await target.send(await source.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                tasks.cancel_scope.cancel()

        tasks.start_soon(copy, connection.stream, upstream)
        tasks.start_soon(copy, upstream, connection.stream)


async def test_https_goes_through_the_proxy_of_the_environment(
    server, secure, connect, wire, ask, authority, tmp_path, monkeypatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", server.url.removesuffix("/v1"))
    server.serves(tunnel)
    secure.serves(good(wire))
    model = await connect(secure.url, api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."
    assert server.last.method == "CONNECT"
    assert "authorization" not in server.last.headers, "the proxy never sees the key"
    assert secure.last.headers["authorization"].startswith("Bearer ")


async def test_plain_http_goes_through_its_own_proxy(
    server, connect, wire, ask, monkeypatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    server.serves(good(wire))
    model = await connect("http://models.invalid/v1", api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."
    assert server.last.target == f"http://models.invalid{wire.path}"


async def test_no_proxy_excludes_hosts(server, connect, wire, ask, monkeypatch, free_port) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    server.serves(good(wire))
    model = await connect(server.url, api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."


async def test_a_proxy_gets_the_credentials_of_its_url_and_its_refusal_costs_nothing(
    server, connect, wire, ask, monkeypatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url.removesuffix("/v1").replace("//", "//me:pass@"))

    async def refuse(connection, request):
        await connection.answer(407, b"")

    server.serves(refuse)
    model = await connect("https://models.invalid/v1", api=wire.api)
    assert "the proxy answered 407" in str(await unreached(model, ask))
    given = b64encode(b"me:pass").decode()
    assert server.last.headers["proxy-authorization"] == f"Basic {given}"


@pytest.mark.parametrize(
    ("variable", "proxy"),
    [
        ("ALL_PROXY", "socks5://me:secret@127.0.0.1:1080"),
        ("HTTPS_PROXY", "nonsense://x"),
        ("https_proxy", "http://[bad"),
        ("HTTPS_PROXY", "http://:8080"),
    ],
)
async def test_a_proxy_that_is_none_is_told_when_a_model_is_opened(
    connect, monkeypatch, variable, proxy
) -> None:
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(UsageError, match=variable.upper()) as caught:
        await connect("https://models.invalid/v1")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "*")
    await connect("https://models.invalid/v1")


async def test_a_proxy_that_is_none_keeps_nobody_from_servers_that_it_is_not_for(
    server, connect, wire, ask, monkeypatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    server.serves(good(wire))
    model = await connect("http://models.invalid/v1", api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    local = await connect(server.url, api=wire.api)
    assert (await local.complete(ask())).message.content == "Hello."
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(UsageError, match="ALL_PROXY"):
        await connect("http://other.invalid/v1", api=wire.api)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificates_that_cannot_be_read_are_told_when_a_model_is_opened(
    connect, monkeypatch, tmp_path, content
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(UsageError, match=r"ca\.pem cannot be used"):
        await connect("https://models.invalid/v1")


async def test_a_proxy_that_is_not_there_costs_nothing(
    connect, wire, ask, monkeypatch, free_port
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port}")
    model = await connect("https://models.invalid/v1", api=wire.api)
    assert "proxy" in str(await unreached(model, ask))


async def test_calls_one_after_the_other_share_a_connection(server, connect, wire, ask) -> None:
    server.serves(good(wire))
    model = await connect(server.url, api=wire.api)
    for _ in range(5):
        await model.complete(ask())
    assert len(server.requests) == 5
    assert server.connections == 1


async def test_models_of_one_endpoint_share_connections_until_the_last_is_closed(
    server, wire, ask
) -> None:
    server.serves(good(wire))
    table = {"base_url": server.url, "api": wire.api}
    (spec,) = [
        spec
        for spec in model_specs(Settings(tables={"models": {"test": table}}), {})
        if spec.name == "test/*"
    ]
    async with spec.open("test/a") as first:
        async with spec.open("test/b") as second:
            await first.complete(ask())
            await second.complete(ask())
        await first.complete(ask())
        assert server.connections == 1
        assert not server.clients_gone.is_set()
    with anyio.fail_after(1):
        await server.clients_gone.wait()
    assert [request.json["model"] for request in server.requests] == ["a", "b", "a"]


@pytest.mark.parametrize("spoken", [True, False])
async def test_cancelling_a_call_closes_its_connection_at_once(
    server, connect, wire, ask, spoken
) -> None:
    asked = anyio.Event()

    async def handler(connection, request):
        if spoken:
            await connection.events(wire.opening(), wire.text("Hel"))
        asked.set()
        await connection.gone()
        server.clients_gone.set()

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    heard = anyio.Event()
    returned = []

    async def call() -> None:
        returned.append(await model.complete(ask(), on_text=lambda text: heard.set()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await asked.wait()
            if spoken:
                await heard.wait()
            tasks.cancel_scope.cancel()
    with anyio.fail_after(1):
        await server.clients_gone.wait()
    assert not returned
    server.serves(good(wire))
    assert (await model.complete(ask())).message.content == "Hello."


async def test_a_deadline_around_a_call_is_not_mistaken_for_its_own_clock(
    server, connect, wire, ask
) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening(), wire.text("Hel"))
        await connection.gone()

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with anyio.move_on_after(0.1) as scope:
        await model.complete(ask())
    assert scope.cancelled_caught


async def test_a_local_server_gets_only_as_many_calls_as_it_has_slots(
    server, connect, wire, ask
) -> None:
    at_once = most = 0

    async def handler(connection, request):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(0.02)
        at_once -= 1
        await good(wire)(connection, request)

    server.serves(handler)
    model = await connect(server.url, api=wire.api, local={"slots": 2})
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(model.complete, ask())
    assert (len(server.requests), most) == (8, 2)


async def test_many_calls_at_once_need_no_place_in_a_pool(server, connect, wire, ask) -> None:
    together = anyio.Event()

    async def handler(connection, request):
        if len(server.requests) == 150:
            together.set()
        await together.wait()
        await good(wire)(connection, request)

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(150):
                tasks.start_soon(model.complete, ask())
    assert server.connections == 150


async def test_the_key_is_sent_and_nothing_else_of_the_environment(
    server, connect, wire, ask, monkeypatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-0123456789")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-0123456789")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: secret")
    server.serves(good(wire))
    model = await connect(server.url, api=wire.api, headers={"X-Team": "review"})
    await model.complete(ask())
    headers = server.last.headers
    assert headers["authorization"] == "Bearer sk-test-0123456789abcdef"
    assert headers["x-team"] == "review"
    assert headers["content-length"] == str(len(server.last.body))
    assert not [name for name in headers if name.startswith("x-stainless")], "nor of the machine"
    assert not [name for name, value in headers.items() if "secret" in value or "sk-o" in value]


async def test_without_a_key_no_authorization_is_sent(
    server, connect, wire, ask, monkeypatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-0123456789")
    server.serves(good(wire))
    model = await connect(server.url, api=wire.api, key_env=None)
    await model.complete(ask())
    assert "authorization" not in server.last.headers


async def test_a_large_request_arrives_whole(server, connect, wire, ask) -> None:
    server.serves(good(wire))
    model = await connect(server.url, api=wire.api)
    text = "päper " * 400_000
    await model.complete(ask(text))
    assert text in str(server.last.json)


async def test_a_missing_key_is_told_before_anything_is_sent() -> None:
    (spec,) = model_specs(Settings(), {})
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        async with spec.open("openai/gpt-5"):
            pass
