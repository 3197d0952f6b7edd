"""The tables `[mcp.NAME]`: servers of tools, as the operator describes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from sashizu_core.documents import is_secret
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.limits import parse_duration
from sashizu_core.server_entries import SERVER_NAME, ServerEntry
from sashizu_core.settings import Settings

__all__ = ["VARIABLE", "Protocol", "ServerSettings", "secrets_of", "server_settings"]

Protocol = Literal["auto", "handshake", "modern"]
"""How a session begins: `initialize`, `server/discover`, or what the server knows of both."""


VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
"""`${NAME}` and `${NAME:-default}`."""


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Strict = Annotated[bool, Field(strict=True)]


class ServerSettings(ServerEntry):
    """One server. What is given beside its entry only the operator may say."""

    timeout: Duration = Field(default="60s", description="How long one call may take.")
    start_timeout: Duration = Field(default="30s", description="How long it may take to start.")
    trusted: Strict = Field(
        default=False, description="Believe that tools only read where they say so."
    )
    read: tuple[str, ...] = Field(default=(), description="Folders that it may read besides.")
    write: tuple[str, ...] = Field(default=(), description="Folders that it may write besides.")
    pass_env: tuple[str, ...] = Field(
        default=(), description="Variables of the environment that it gets."
    )
    oauth: Strict = Field(default=False, description="Log in by OAuth: `sashizu mcp login NAME`.")
    protocol: Protocol = Field(default="auto", description="How a session begins.")
    disabled: Strict = Field(default=False, description="Leave it alone.")


def server_settings(settings: Settings) -> dict[str, ServerSettings]:
    """Every table `[mcp.NAME]` that is not disabled.

    Raises:
        ConfigError: a name or a value is wrong; says where it was set.
    """
    found = {}
    for name in settings.tables.get("mcp", {}):
        if not SERVER_NAME.fullmatch(name):
            raise ConfigError(
                f"'mcp.{name}': a server's name has letters, digits and '_.-', at most 64"
            )
        table = settings.table(("mcp", name), ServerSettings)
        if not table.disabled:
            found[name] = table
    return found


def secrets_of(entry: ServerEntry, env: Mapping[str, str]) -> Iterator[str]:
    """What an entry tells a server and may be a secret: headers, and variables named like one."""
    for group, values in (("headers", entry.headers), ("env", entry.env)):
        for name, value in values.items():
            if is_secret((group, name)):
                told = VARIABLE.sub(lambda found: env.get(found[1], found[2] or ""), value)
                yield told
                yield from told.split()[1:]
