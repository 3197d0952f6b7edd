"""Every error a caller may catch.

```text
SashizuError               raised on purpose; the CLI prints it without a traceback; exit code 1
├─ UsageError              what was asked cannot be meant: unknown agent, empty list; exit code 2
│  ├─ ConfigError          a settings or agent file is wrong: file, line, what was expected
│  └─ TrustNeeded          an agent comes from a repository that is not trusted; .files
├─ PluginError             a plugin cannot be loaded, or two plugins clash; exit code 2
├─ MissingPackage          what was asked needs a package that is not installed; exit code 2
├─ BudgetRefused           a reservation does not fit; .node .unit .asked .left; exit code 3
├─ DeviceError              a device cannot do what was asked: see sashizu_core.devices; exit code 1
├─ RecordError             the record cannot be written: nothing further is done; exit code 1
├─ Diverged                a replay asks for something else than is recorded; exit code 4
├─ ModelError              an attempt at a model call failed; .fault, .sent (it may be billed)
├─ PermissionDenied        a tool call is not allowed; .decision
└─ ToolError               a tool failed; its message goes back to the model
   ├─ SpawnRefused         an agent may start no further agent; .limit .allowed
   └─ ArgumentsError       the arguments of a tool call do not fit its schema
```

Messages say what was asked, what was found and what to do. The facts are attributes as well, so
that nobody has to parse a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sashizu_core.types import Decision, Usage

__all__ = [
    "ArgumentsError",
    "BudgetRefused",
    "ConfigError",
    "Diverged",
    "Fault",
    "MissingPackage",
    "ModelError",
    "PermissionDenied",
    "PluginError",
    "RecordError",
    "SashizuError",
    "SpawnRefused",
    "ToolError",
    "TrustNeeded",
    "UntrustedFile",
    "UsageError",
    "nearest",
]

Fault = Literal[
    "connect",  # no connection, DNS, TLS, refused: nothing was sent
    "transport",  # cut, reset, malformed answer, gateway error page: sent, may be billed
    "timeout",  # no first event, or no content for too long: sent, may be billed
    "rate_limited",  # 429 with or without retry-after
    "quota",  # the account has no credit left: fatal, retrying is useless
    "overloaded",  # 5xx, 529: an error status came back
    "auth",  # 401, 403: key missing, wrong or without rights
    "not_found",  # 404: unknown model or wrong base URL
    "invalid_request",  # 400, 422: our request is wrong for this endpoint
    "context_too_long",  # the conversation does not fit the model's window
    "content_filter",  # refused by the provider's filter
    "protocol",  # the answer breaks the protocol: no choices, duplicate ids
]
"""How an attempt at a model call failed."""

RETRYABLE: frozenset[str] = frozenset(
    {"connect", "transport", "timeout", "rate_limited", "overloaded", "protocol"}
)


def nearest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


class SashizuError(Exception):
    """Raised on purpose. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(SashizuError):
    """What was asked cannot be meant."""

    exit_code = 2


class ConfigError(UsageError):
    """A settings or agent file is wrong.

    `file`, `line` and `column` (both counted from 1) say where, as far as it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        file: Path | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        where = ""
        if file is not None:
            place = ":".join(str(part) for part in (file, line, column) if part is not None)
            where = f"{place}: "
        super().__init__(where + message)
        self.file = file
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class UntrustedFile:
    """A file of a repository whose agent was asked for, and that nobody has trusted as it is.

    `path` is relative to the workspace, `sha256` fingerprints what was read. `state` is `changed`
    where another content of it was trusted. `kind` says what `agent` is the name of.
    """

    agent: str
    path: str
    sha256: str
    state: Literal["new", "changed"]
    kind: Literal["agent", "server"] = "agent"


class TrustNeeded(UsageError):
    """Agents were asked for that a repository brings, and that nobody has trusted.

    `workspace` is the real path of the repository, `command` what a person has to run.
    """

    def __init__(self, workspace: Path, files: tuple[UntrustedFile, ...], command: str) -> None:
        how = {"new": "not trusted", "changed": "changed since it was trusted"}
        told = "; ".join(
            f"the {file.kind} {file.agent!r} comes from {file.path!r} of this repository, which is "
            f"{how[file.state]}"
            for file in files
        )
        super().__init__(f"{told}. To look at it and trust it: {command}")
        self.workspace = workspace
        self.files = files
        self.command = command


class PluginError(SashizuError):
    """A plugin cannot be loaded, or two plugins offer the same name."""

    exit_code = 2


class MissingPackage(SashizuError):
    """What was asked needs a package that is not installed."""

    exit_code = 2

    def __init__(self, wanted: str, package: str, *, otherwise: str = "") -> None:
        hint = f", or {otherwise}" if otherwise else ""
        super().__init__(f"{wanted} needs the package {package!r}: pip install {package}{hint}")
        self.package = package


class BudgetRefused(SashizuError):
    """A reservation does not fit: the call is not made.

    `node` is the name of the node that refused, `unit` one of the ledger's units, `asked` and
    `left` are in that unit. `closed` says that the node takes nothing any more, `remedy` how a
    limit that is not the run's own is changed.
    """

    exit_code = 3

    def __init__(
        self,
        node: str,
        unit: str,
        asked: int,
        left: int,
        closed: bool = False,
        remedy: str = "",
    ) -> None:
        why = "it is closed: it ended, or a bill exceeded its hold" if closed else f"{left} left"
        how = f"; {remedy}" if remedy else ""
        super().__init__(f"budget of {node!r} refused {asked} {unit}: {why}{how}")
        self.closed = closed
        self.remedy = remedy
        self.node = node
        self.unit = unit
        self.asked = asked
        self.left = left


class RecordError(SashizuError):
    """The record cannot be written, so nothing further is done."""


class Diverged(SashizuError):
    """A replay asks for something else than what is recorded.

    `agent` is the name of the agent, `step` the number of its step; `recorded` and `asked` say in
    words what stood there and what came now.
    """

    exit_code = 4

    def __init__(self, agent: str, step: int, recorded: str, asked: str) -> None:
        super().__init__(f"{agent}, step {step}: recorded was {recorded}; asked for now is {asked}")
        self.agent = agent
        self.step = step
        self.recorded = recorded
        self.asked = asked


class ModelError(SashizuError):
    """One attempt at a model call failed.

    Args:
        message: what happened, for a person; never holds a key or a request body.
        fault: how, see `Fault`.
        sent: whether the provider may have begun to work, so that the hold is charged.
        retry_after_s: how long the provider asks to wait, in seconds.
        usage: what the provider says it used, where it said so.
        status: the HTTP status, where there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        fault: Fault,
        sent: bool = False,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.fault: Fault = fault
        self.sent = sent
        self.retry_after_s = retry_after_s
        self.usage = usage
        self.status = status

    @property
    def retryable(self) -> bool:
        return self.fault in RETRYABLE


class PermissionDenied(SashizuError):
    """A tool call is not allowed. `decision` says by which rule."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


class SandboxError(SashizuError):
    """A program cannot be held as it was asked for; it was not started."""


class ToolError(SashizuError):
    """A tool failed; its message goes back to the model."""


class SpawnRefused(ToolError):
    """An agent may start no further agent.

    `limit` is the limit that was met (`depth`, `agents`, `alive`, `rate`), `allowed` its value.
    """

    def __init__(self, message: str, *, limit: str, allowed: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.allowed = allowed


class ArgumentsError(ToolError):
    """The arguments of a tool call are no JSON, or do not fit the tool's schema."""
