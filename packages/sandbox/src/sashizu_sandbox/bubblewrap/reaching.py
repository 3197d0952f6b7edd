"""Opens a listener inside of a sandbox's own network, to be served from outside."""

from __future__ import annotations

import fcntl
import os
import socket

from sashizu_sandbox.bubblewrap import kernel, passing

__all__ = ["listen_inside"]

_OWNER_OF_NAMESPACE = 0xB701  # NS_GET_USERNS
_BACKLOG = 128


def listen_inside(pid: int, port: int) -> int:
    """A socket that listens on 127.0.0.1 in the network of a process.

    A child enters that network and hands the socket back; nothing of ours stays there.

    Raises:
        OSError: the network cannot be entered.
    """
    ours, theirs = socket.socketpair()
    with ours:
        child = os.fork()
        if child == 0:
            _enter_and_listen(pid, port, theirs)
        theirs.close()
        said, fds = passing.receive(ours)
        os.waitpid(child, 0)
    if not fds:
        reason = said.decode("utf-8", "replace") or "no answer"
        raise OSError(f"the sandbox's network cannot be entered: {reason}")
    return fds[0]


def _enter_and_listen(pid: int, port: int, answer: socket.socket) -> None:
    try:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        owner = fcntl.ioctl(network, _OWNER_OF_NAMESPACE)
        kernel.enter(owner)
        kernel.enter(network)
        with socket.socket() as listener:
            # The address may not have been given to the loopback device yet.
            listener.setsockopt(socket.IPPROTO_IP, kernel.IP_FREEBIND, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
            passing.send(answer, b"+", [listener.fileno()])
    except BaseException as error:  # noqa: BLE001 - nothing may go on in a forked copy
        answer.send(str(error).encode())
    finally:
        os._exit(0)
