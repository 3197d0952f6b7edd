"""Where state and configuration live on this system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["admin_home", "config_home", "state_home"]


def admin_home() -> Path:
    """The folder of the `sashizu.toml` of whoever administers the machine.

    No variable moves it: nobody gets around it by setting one.
    """
    if os.name == "posix":
        mac = Path("/Library/Application Support")
        return mac / "sashizu" if sys.platform == "darwin" else Path("/etc/sashizu")
    from platformdirs import site_config_path

    return site_config_path("sashizu", appauthor=False)


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
