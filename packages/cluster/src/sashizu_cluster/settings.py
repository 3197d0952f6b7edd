"""The table `[cluster]` of the settings."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field
from sashizu_core.errors import ConfigError
from sashizu_core.settings import Settings, Table

__all__ = ["ClusterSettings", "cluster_settings", "dsn_of"]

DATABASE_VARIABLE = "SASHIZU_CLUSTER"


class ClusterSettings(Table):
    """Which cluster this machine belongs to.

    `database` is a connection string of libpq; keep passwords in `~/.pgpass`. `slots` is how many
    workers are at work at most: further ones wait until one of them is gone. `host` is what this
    machine is called, where its own name is not the only one of that kind.
    """

    database: str = ""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")] = "default"
    host: Annotated[str, Field(max_length=253)] = ""
    slots: Annotated[int, Field(ge=1, le=10_000)] = 64


def cluster_settings(settings: Settings) -> ClusterSettings:
    """What the settings say.

    Raises:
        ConfigError: something in the table is wrong.
    """
    return settings.plugin("cluster", ClusterSettings)


def dsn_of(settings: ClusterSettings) -> str:
    """How to connect.

    Raises:
        ConfigError: nobody says so.
    """
    found = os.environ.get(DATABASE_VARIABLE, "") or settings.database
    if not found:
        raise ConfigError(
            'which database the cluster has is not said: set database = "host=... dbname=..." '
            f"in [cluster], or {DATABASE_VARIABLE}"
        )
    return found
