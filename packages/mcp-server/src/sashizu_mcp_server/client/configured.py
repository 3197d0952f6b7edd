"""Which servers there are for an agent, whose they are, and whether they may be used.

The operator's own come first: tables `[mcp.NAME]` of the settings, then `mcp.json` in the folder of
the settings. Then those of the agent's definition, which is trusted with its file. Then `.mcp.json`
and `mcp.json` of the workspace, whose bytes need trust like a repository's agents.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sashizu_core.errors import ConfigError, TrustNeeded, UntrustedFile
from sashizu_core.home import config_home
from sashizu_core.limits import parse_duration
from sashizu_core.server_entries import (
    ServerEntry,
    ServerFile,
    brought_server_files,
    known_entries,
    read_server_file,
)
from sashizu_core.settings import Settings
from sashizu_core.trust import TrustStore, brought_path, trust_command

from sashizu_mcp_server.client.settings import (
    Protocol,
    ServerSettings,
    secrets_of,
    server_settings,
)

__all__ = ["ConfiguredServers", "ServerConfig", "known_secrets"]

USER_FILE = "mcp.json"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server.

    `identity` says whose it is, so that approval of its tools counts for no other of its name;
    `origin` says the same to a person. `own` are those of the operator: only they may be given
    variables, files or belief. `brought` are those that an agent's definition describes, for itself
    alone. Times are in seconds.
    """

    name: str
    entry: ServerEntry
    identity: str
    origin: str
    own: bool
    timeout_s: float = 60.0
    start_timeout_s: float = 30.0
    trusted: bool = False
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    pass_env: tuple[str, ...] = ()
    oauth: bool = False
    protocol: Protocol = "auto"
    brought: bool = False


def known_secrets(
    settings: Settings, env: Mapping[str, str], *, config: Path | None = None
) -> tuple[str, ...]:
    """What the operator's own servers are told and may be a secret.

    Raises:
        ConfigError: a table `[mcp.NAME]` is wrong.
    """
    entries: list[ServerEntry] = list(server_settings(settings).values())
    with suppress(FileNotFoundError, ConfigError):  # who needs its servers is told of it
        entries += read_server_file((config or config_home()) / USER_FILE).servers.values()
    return tuple(secret for entry in entries for secret in secrets_of(entry, env) if secret)


class ConfiguredServers:
    """The servers that a run may use.

    Raises:
        ConfigError: the operator's own files are wrong.
    """

    def __init__(self, settings: Settings, *, config: Path | None = None) -> None:
        file = (config or config_home()) / USER_FILE
        self.problems: list[str] = []
        self._own: dict[str, ServerConfig] = {}
        try:
            told = read_server_file(file)
        except FileNotFoundError:
            told = ServerFile(file, "", {})
        self.problems += [f"{file}: {problem}" for problem in told.problems]
        for name, entry in told.servers.items():
            self._own[name] = ServerConfig(name, entry, f"user:{name}", str(file), own=True)
        for name, table in server_settings(settings).items():
            where = settings.origin(("mcp", name, "url" if table.url else "command")).text
            self._own[name] = _from_settings(name, table, where)

    @property
    def own(self) -> Mapping[str, ServerConfig]:
        """The operator's own, by name."""
        return self._own

    def of_agent(
        self, servers: Mapping[str, Any], source: str, workspace: Path
    ) -> Iterator[ServerConfig]:
        """What a definition says of servers."""
        root = os.path.realpath(workspace)
        tables = {
            name: table.model_dump() if isinstance(table, ServerEntry) else table
            for name, table in servers.items()
        }
        for name, entry in known_entries(tables)[0].items():
            identity = f"agent:{root}:{source}:{name}"
            yield ServerConfig(
                name, entry, identity, f"the agent {source!r}", own=False, brought=True
            )

    def find(
        self, name: str, servers: Mapping[str, Any], source: str, workspace: Path
    ) -> ServerConfig | None:
        """The server of a name for an agent; None if nobody tells of one.

        Raises:
            TrustNeeded: the workspace tells of it, and nobody has trusted the file as it is.
            SashizuError: the file that says what is trusted is damaged.
        """
        if (own := self._own.get(name)) is not None:
            return own
        for config in self.of_agent(servers, source, workspace):
            if config.name == name:
                return config
        for brought in brought_server_files(workspace):
            if isinstance(brought, ServerFile) and name in brought.servers:
                _require_trust(workspace, brought, name)
                return _of_workspace(name, brought, workspace)
        return None

    def check(
        self, workspace: Path, agents: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]
    ) -> None:
        """Refuse a run that would need what nobody trusts.

        Raises:
            TrustNeeded: at least one server that an agent lists is the workspace's, and untrusted.
        """
        for listed, servers in agents:
            for name in dict.fromkeys(tool.partition("/")[0] for tool in listed):
                self.find(name, servers, "", workspace)

    def of_workspace(self, workspace: Path) -> Iterator[tuple[ServerConfig, bool]]:
        """The workspace's own servers, and whether they may be used.

        Raises:
            SashizuError: the file that says what is trusted is damaged.
        """
        for brought in brought_server_files(workspace):
            if isinstance(brought, ConfigError):
                self.problems.append(str(brought))
                continue
            self.problems += [f"{brought.file}: {problem}" for problem in brought.problems]
            for name in brought.servers:
                state = _trust_state(workspace, brought)
                yield _of_workspace(name, brought, workspace), state == ""


def _from_settings(name: str, table: ServerSettings, origin: str) -> ServerConfig:
    return ServerConfig(
        name,
        ServerEntry.model_validate(table.model_dump(include=set(ServerEntry.model_fields))),
        f"user:{name}",
        origin,
        own=True,
        timeout_s=parse_duration(table.timeout),
        start_timeout_s=parse_duration(table.start_timeout),
        trusted=table.trusted,
        read=tuple(Path(path).expanduser().absolute() for path in table.read),
        write=tuple(Path(path).expanduser().absolute() for path in table.write),
        pass_env=table.pass_env,
        oauth=table.oauth,
        protocol=table.protocol,
    )


def _of_workspace(name: str, brought: ServerFile, workspace: Path) -> ServerConfig:
    identity = f"repository:{os.path.realpath(workspace)}:{name}"
    return ServerConfig(name, brought.servers[name], identity, str(brought.file), own=False)


def _trust_state(workspace: Path, brought: ServerFile) -> str:
    """Empty if a file is trusted as it is; else `new` or `changed`."""
    trusted = TrustStore().files(workspace)
    path = brought_path(brought.file, workspace)
    if trusted.get(path) == brought.sha256:
        return ""
    return "changed" if path in trusted else "new"


def _require_trust(workspace: Path, brought: ServerFile, name: str) -> None:
    state = _trust_state(workspace, brought)
    if not state:
        return
    path = brought_path(brought.file, workspace)
    untrusted = UntrustedFile(
        name, path, brought.sha256, "changed" if state == "changed" else "new", "server"
    )
    root = Path(os.path.realpath(workspace))
    raise TrustNeeded(root, (untrusted,), trust_command(root))
