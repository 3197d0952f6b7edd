"""Servers of tools as files name them: one entry, and the files that a workspace may bring."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sashizu_core.documents import read_source
from sashizu_core.errors import ConfigError

__all__ = [
    "SERVER_FILES",
    "SERVER_NAME",
    "ServerEntry",
    "ServerFile",
    "brought_server_files",
    "known_entries",
    "read_server_file",
]

SERVER_FILES = (".mcp.json", "mcp.json")
"""Files of a folder that name servers, the first before the second."""

SERVER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

LARGEST_FILE = 256 * 1024
"""Bytes of a file of servers that are read."""

MOST_SERVERS = 100
"""Servers of one file."""

_NO_PROGRAM = "nothing that can be started or reached: give 'command' or 'url', one of them"

Word = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]
Variables = Annotated[dict[Word, Word], Field(max_length=200)]


class ServerEntry(BaseModel):
    """A server: a program to start, or an address to connect to."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    command: Word | None = Field(default=None, description="The program to start.")
    args: tuple[Word, ...] = Field(default=(), description="Its arguments.")
    env: Variables = Field(default={}, description="Variables that it gets beside the usual ones.")
    cwd: Word | None = Field(default=None, description="Where it starts, within the workspace.")
    url: Word | None = Field(default=None, description="The address of a server on the network.")
    headers: Variables = Field(default={}, description="Headers of every request to `url`.")

    @model_validator(mode="after")
    def _one_way(self) -> ServerEntry:
        if bool(self.command) == bool(self.url):
            raise ValueError(_NO_PROGRAM)
        return self

    def wants(self) -> str:
        """What it would start or reach, in one line; values of variables are left out."""
        if self.url:
            return f"connect to {self.url}"
        words = " ".join((self.command or "", *self.args))
        return f"start {words}" + (f" with {', '.join(sorted(self.env))}" if self.env else "")


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file of servers. `sha256` fingerprints its bytes, `problems` are sentences for a person."""

    file: Path
    sha256: str
    servers: Mapping[str, ServerEntry]
    problems: tuple[str, ...] = ()


def known_entries(servers: Mapping[str, Any]) -> tuple[dict[str, ServerEntry], list[str]]:
    """The entries that are understood, and what is wrong with the others.

    Other programs keep further keys in these tables; what is not known is left out.
    """
    found: dict[str, ServerEntry] = {}
    problems = []
    for name, table in list(servers.items())[:MOST_SERVERS]:
        if not SERVER_NAME.fullmatch(str(name)):
            problems.append(f"{name!r:.80} is no name of a server: use letters, digits and '_.-'")
            continue
        if not isinstance(table, Mapping):
            problems.append(f"the server {name!r} is no table")
            continue
        if table.get("type") == "sse":
            problems.append(f"the server {name!r} speaks 'sse', which nothing here does")
            continue
        known = {key: value for key, value in table.items() if key in ServerEntry.model_fields}
        try:
            found[name] = ServerEntry.model_validate(known)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            problems.append(f"the server {name!r}: {where}{': ' if where else ''}{first['msg']}")
    if len(servers) > MOST_SERVERS:
        problems.append(f"more than {MOST_SERVERS} servers: the others are not read")
    return found, problems


def read_server_file(file: Path, *, follow_links: bool = True) -> ServerFile:
    """Read `{"mcpServers": {NAME: {...}}}`.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it cannot be read, or is no such file.
    """
    source = read_source(file, limit_bytes=LARGEST_FILE, follow_links=follow_links)
    try:
        data = json.loads(source.text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is no JSON: {error}", file=file) from error
    servers = data.get("mcpServers", {}) if isinstance(data, dict) else None
    if not isinstance(servers, dict):
        raise ConfigError('holds no servers: write {"mcpServers": {NAME: {...}}}', file=file)
    entries, problems = known_entries(servers)
    return ServerFile(file, source.sha256, entries, tuple(problems))


def brought_server_files(workspace: Path) -> Iterator[ServerFile | ConfigError]:
    """The files of servers that a workspace brings; an error in place of one that is broken."""
    for name in SERVER_FILES:
        try:
            yield read_server_file(workspace / name, follow_links=False)
        except FileNotFoundError:
            continue
        except ConfigError as error:
            yield error
