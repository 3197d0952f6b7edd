"""Which options of which programs are understood."""

from __future__ import annotations

import re

from sashizu_sandbox.shell.tables.building import BUILDING
from sashizu_sandbox.shell.tables.files import FILES
from sashizu_sandbox.shell.tables.git import GIT
from sashizu_sandbox.shell.tables.model import Kind, Table
from sashizu_sandbox.shell.tables.never import NEVER
from sashizu_sandbox.shell.tables.search import SEARCH
from sashizu_sandbox.shell.tables.text import TEXT

__all__ = ["TABLES", "Kind", "Table", "table_of"]

TABLES: dict[str, Table] = {**FILES, **TEXT, **SEARCH, "git": GIT, **BUILDING, **NEVER}
"""By the name of the program. What is not in here is any code."""

_VERSION = re.compile(r"-?\d+(\.\d+)*\Z")


def table_of(name: str) -> Table | None:
    """The table of a program; `python3.12` and `gcc-14` run any code as `python` and `gcc` do."""
    if (found := TABLES.get(name)) is not None:
        return found
    plain = TABLES.get(_VERSION.sub("", name))
    return plain if plain is not None and plain.any_code else None
