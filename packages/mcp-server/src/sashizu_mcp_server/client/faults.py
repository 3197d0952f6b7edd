"""What can go wrong with a server, each as a typed error of the tool that was called.

```text
ToolError
└─ ServerFault        .server says whose
   ├─ NotStarted      it could not be started or reached, or did not answer at its start
   ├─ ServerGone      it ended, or hung up, while it was asked; what it did is not known
   ├─ ServerSilent    it did not answer in time
   ├─ ReplyTooLarge   it said more than is taken
   ├─ BadReply        what it said is not the protocol
   ├─ ServerRefused   it answered with an error of the protocol
   └─ ToolChanged     it describes the tool otherwise than when the agent was told of it
```
"""

from __future__ import annotations

from sashizu_core.errors import ToolError

__all__ = [
    "BadReply",
    "NotStarted",
    "ReplyTooLarge",
    "ServerFault",
    "ServerGone",
    "ServerRefused",
    "ServerSilent",
    "ToolChanged",
]


class ServerFault(ToolError):
    """Something is wrong with a server; the message names it."""

    def __init__(self, server: str, message: str) -> None:
        super().__init__(f"the server {server!r} {message}")
        self.server = server
        self.said = message


class NotStarted(ServerFault):
    """It could not be started or reached, or did not answer at its start."""


class ServerGone(ServerFault):
    """It ended or hung up while it was asked: whether the call took effect is not known."""


class ServerSilent(ServerFault):
    """It did not answer in time; it was told that nobody waits any more."""


class ReplyTooLarge(ServerFault):
    """It said more than is taken."""


class BadReply(ServerFault):
    """What it said is not the protocol."""


class ServerRefused(ServerFault):
    """It answered with an error of the protocol; the message is its own."""


class ToolChanged(ServerFault):
    """It describes the tool otherwise than when the agent was told of it.

    `digest` fingerprints what it tells now; empty where the tool is gone.
    """

    def __init__(self, server: str, message: str, digest: str = "") -> None:
        super().__init__(server, message)
        self.digest = digest
