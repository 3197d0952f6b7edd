"""Connections of programs in a sandbox, as they are answered outside."""

import anyio
from anyio.abc import ByteStream, SocketAttribute
from sashizu_sandbox.bubblewrap.serving import MOST_CONNECTIONS, serve_inside


async def test_a_program_has_so_many_connections_and_further_ones_wait():
    opened: list[ByteStream] = []
    most, full = 0, anyio.Event()

    async def answers(stream: ByteStream) -> None:
        nonlocal most
        opened.append(stream)
        most = max(most, len(opened))
        if len(opened) == MOST_CONNECTIONS:
            full.set()
        await stream.receive()
        await stream.send(b"served")
        opened.remove(stream)

    listener = (await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)).listeners[0]
    port = listener.extra(SocketAttribute.local_port)
    served = []

    async def asks(go_on: anyio.Event) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await go_on.wait()
            await stream.send(b"ask")
            served.append(await stream.receive())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(serve_inside, listener, answers)
            go_on = anyio.Event()
            async with anyio.create_task_group() as programs:
                for _ in range(MOST_CONNECTIONS + 10):
                    programs.start_soon(asks, go_on)
                await full.wait()
                go_on.set()
            group.cancel_scope.cancel()

    assert served == [b"served"] * (MOST_CONNECTIONS + 10)
    assert most == MOST_CONNECTIONS


async def test_a_connection_that_breaks_ends_no_other():
    async def breaks(stream: ByteStream) -> None:
        if await stream.receive() == b"break":
            raise OSError("nobody there")
        await stream.send(b"served")

    listener = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners[0]
    port = listener.extra(SocketAttribute.local_port)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(serve_inside, listener, breaks)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"break")
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"ask")
                answer = await stream.receive()
            group.cancel_scope.cancel()

    assert answer == b"served"


async def test_a_time_without_descriptors_passes(monkeypatch):
    listener = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners[0]
    port = listener.extra(SocketAttribute.local_port)
    accept, failures = listener.accept, [OSError(24, "too many open files")]

    async def fails_once():
        if failures:
            raise failures.pop()
        return await accept()

    monkeypatch.setattr(listener, "accept", fails_once)

    async def answers(stream: ByteStream) -> None:
        await stream.send(b"served")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(serve_inside, listener, answers)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                answer = await stream.receive()
            group.cancel_scope.cancel()

    assert answer == b"served"
