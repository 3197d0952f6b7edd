"""Answers that were written down before the run: a file of rules that allow.

```toml
[[rules]]
verdict = "allow"
touches = "exec"            # read, write, exec, net, tool, spawn or device
pattern = "git push origin"
agent = "releaser"          # any agent without it
```

Patterns are those of grants, and as strict. The file belongs to who starts the run and lies outside
the repository, so that nothing in a repository can answer for a person. No rule answers whether a
call is made again that may have been made before an interruption.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import anyio.lowlevel
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sashizu_core.agents.definition import agent_key
from sashizu_core.documents import complaint
from sashizu_core.errors import ConfigError
from sashizu_core.granted_paths import clean
from sashizu_core.granted_urls import url_pattern
from sashizu_core.grants import Grants, PermissionRequest, Subject, Touched
from sashizu_core.permissions import authorize
from sashizu_core.protocols import Approval, Question
from sashizu_core.toml_text import read_toml

__all__ = ["ApprovalRule", "WrittenApprovals", "read_approval_file"]

LARGEST_FILE = 1024 * 1024
"""Bytes of a file of approvals that are read."""

_OTHERS_WRITE = 0o022


class ApprovalRule(BaseModel):
    """What is approved beforehand, for one agent or for any (`*`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    verdict: Literal["allow"]
    touches: Touched
    pattern: Annotated[str, Field(min_length=1)]
    agent: Annotated[str, Field(min_length=1)] = "*"

    def concerns(self, agent: str) -> bool:
        return self.agent == "*" or agent_key(self.agent) == agent_key(agent)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    rules: tuple[ApprovalRule, ...]


@dataclass(frozen=True, slots=True)
class WrittenApprovals:
    """Answers from rules: what they cover is allowed, everything else denied. `name` says whose."""

    name: str
    rules: tuple[ApprovalRule, ...]

    async def ask(self, question: Question) -> Approval:
        await anyio.lowlevel.checkpoint()
        if question.in_doubt:
            return Approval("deny", f"{self.name} cannot tell whether it was done already")
        rules = [rule for rule in self.rules if rule.concerns(question.agent_name)]
        if all(_covered(request, rules) for request in question.needing):
            return Approval("run", by=self.name)
        return Approval("deny", f"{self.name} approves no such call")


def _covered(request: PermissionRequest, rules: Iterable[ApprovalRule]) -> bool:
    """Whether one of the rules would grant a request."""
    return any(
        authorize((request,), Subject("", "", (_as_grants(rule),))).allowed for rule in rules
    )


def _as_grants(rule: ApprovalRule) -> Grants:
    one, names = (rule.pattern,), frozenset({rule.pattern})
    match rule.touches:
        case "read":
            return Grants(fs_read=one)
        case "write":
            return Grants(fs_write=one)
        case "exec":
            return Grants(exec=one)
        case "net":
            return Grants(net=one)
        case "tool":
            return Grants(tools=None if rule.pattern == "*" else names)
        case "spawn":
            return Grants(spawn=names)
        case "device":
            return Grants(devices=names)


def read_approval_file(file: Path, workspace: Path) -> WrittenApprovals:
    """Read approvals for runs in a workspace.

    Raises:
        ConfigError: there is no such file, it lies in the repository, somebody else could have
            written it, or it says something that cannot be understood.
    """
    _check_place(file, workspace)
    document = read_toml(_read(file), file)
    try:
        rules = _File.model_validate(document.data).rules
    except ValidationError as error:
        raise complaint(error, _File, document.error) from None
    for number, rule in enumerate(rules):
        if odd := _oddity(rule):
            raise document.error(("rules", number, "pattern"), f"{rule.pattern!r} {odd}")
    return WrittenApprovals(file.name, rules)


def _oddity(rule: ApprovalRule) -> str:
    """Why a pattern would approve nothing; empty if it can."""
    if rule.touches in ("read", "write") and clean(rule.pattern) is None:
        return "is no path: write it relative to the workspace, without '..'"
    if rule.touches == "net" and url_pattern(rule.pattern) is None:
        return "is no host or URL: write example.org or https://example.org/docs/*"
    if rule.touches == "exec" and not rule.pattern.split():
        return "is no command: write its first words"
    return ""


def _check_place(file: Path, workspace: Path) -> None:
    """Refuse a file of the repository, under whatever name it is reached."""
    real = Path(os.path.realpath(workspace))
    root = next((folder for folder in (real, *real.parents) if (folder / ".git").exists()), real)
    written = Path(os.path.abspath(file))  # noqa: PTH100 - the name itself, links not resolved
    names = (written, Path(os.path.realpath(written.parent)) / written.name, written.resolve())
    if any(name.is_relative_to(root) for name in names):
        raise ConfigError(
            f"lies in the repository {str(root)!r}, whose files cannot approve anything; "
            "keep it outside",
            file=file,
        )


def _read(file: Path) -> str:
    """The text of the file, opened once; what others could have written is refused."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(file.resolve(), flags)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file) from error
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError("is no regular file", file=file)
        if hasattr(os, "geteuid") and (
            found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OTHERS_WRITE
        ):
            raise ConfigError(
                "can be written by others than you; who answers for you must be you "
                "(chown it to yourself, chmod go-w)",
                file=file,
            )
        content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"is larger than {LARGEST_FILE} bytes", file=file)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", file=file) from error
