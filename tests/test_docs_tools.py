"""The page about tools says what the tools say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

from sashizu_core.builtin.tools import delegate_tool, file_tools

PAGE = (Path(__file__).parent.parent / "docs" / "reference" / "tools.md").read_text("utf-8")


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


async def test_every_tool_and_each_of_its_arguments_has_its_line() -> None:
    for spec in [*file_tools(), delegate_tool()]:
        async with spec.open() as tool:
            row = f"| `{spec.name}` | {spec.summary} | "
            needs = ", ".join(f"`{need}`" for need in spec.needs)
            assert f"{row}{needs} | {tool.kind.value} |" in PAGE
            arguments = re.findall(r"^\| `(\w+)` \|", section(spec.name), re.MULTILINE)
            assert arguments == list(tool.schema.parameters["properties"])


async def test_the_defaults_and_bounds_are_those_of_the_schema() -> None:
    for spec in file_tools():
        async with spec.open() as tool:
            limit = tool.schema.parameters["properties"].get("limit")
        if limit is not None:
            bounds = f"| `limit` | {limit['minimum']} to {limit['maximum']:,} | "
            line = next(line for line in section(spec.name).splitlines() if bounds in line)
            assert line.endswith(f"; {limit['default']:,} |")
