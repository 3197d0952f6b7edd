"""Which options of which programs are understood."""

from __future__ import annotations

from sashizu_sandbox.shell.tables.building import BUILDING
from sashizu_sandbox.shell.tables.files import FILES
from sashizu_sandbox.shell.tables.git import GIT
from sashizu_sandbox.shell.tables.model import Kind, Table
from sashizu_sandbox.shell.tables.never import NEVER
from sashizu_sandbox.shell.tables.search import SEARCH
from sashizu_sandbox.shell.tables.text import TEXT

__all__ = ["TABLES", "Kind", "Table"]

TABLES: dict[str, Table] = {**FILES, **TEXT, **SEARCH, "git": GIT, **BUILDING, **NEVER}
"""By the name of the program. What is not in here is a doubt."""
