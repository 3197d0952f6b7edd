"""Where state and configuration live on this system."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["config_home", "state_home"]


def state_home() -> Path:
    """The folder of runs, conversations and the record: `$SASHIZU_HOME`, else the platform's.

    The folder may not exist yet; who makes it gives it mode 0700.
    """
    if home := os.environ.get("SASHIZU_HOME"):
        return Path(home).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("sashizu", appauthor=False)


def config_home() -> Path:
    """The folder of the user's `sashizu.toml` and `agents/`.

    Follows the platform, not `$SASHIZU_HOME`: configuration outlives state.
    """
    from platformdirs import user_config_path

    return user_config_path("sashizu", appauthor=False)
