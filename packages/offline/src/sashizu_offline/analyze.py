"""The tool `analyze`: all checks over files of the workspace, answered as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from pydantic import Field
from sashizu_core.builtin.searched import tick
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.grants import PathRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult

from sashizu_offline.derive.cases import derive_tests
from sashizu_offline.findings import Check
from sashizu_offline.results import Result, as_lines
from sashizu_offline.sources import read_sources
from sashizu_offline.survey import survey

__all__ = ["AnalyzeArguments", "AnalyzeTool"]

DEFAULT_BYTES = 16_000
"""How long an answer is where the caller does not say: about 4,000 tokens."""


class AnalyzeArguments(Arguments):
    """What `analyze` is asked."""

    paths: tuple[str, ...] = Field(
        (), description="Files or folders to analyse; by default the scope of the task."
    )
    checks: tuple[Check, ...] = Field(
        ("review", "security"),
        min_length=1,
        description="review: defects in code, documents and configuration. security: dangerous "
        "calls, secrets, missing checks. tests: tests that can be derived from the code.",
    )
    max_bytes: int = Field(
        DEFAULT_BYTES,
        ge=1_000,
        le=200_000,
        description="The answer is cut to this many bytes, the worst findings first.",
    )


class AnalyzeTool(TypedTool[AnalyzeArguments]):
    """Reads through the workspace, runs ruff over copies, changes nothing."""

    name = "analyze"
    description = (
        "Analyse source files without running them: Python with ruff and rules of our own, "
        "Markdown links, JSON, TOML, GitHub workflows, secrets in any text. Answers with JSON "
        "lines: first what was analysed and what not, then findings (path, line, rule, severity, "
        "message), worst first."
    )
    arguments = AnalyzeArguments

    def requests(
        self, arguments: AnalyzeArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        """To read what of the paths is granted; a path of which nothing is, is asked for whole."""
        wanted: list[PermissionRequest] = []
        for path in _paths(arguments, context):
            roots = context.readable.roots(path) or (path,)
            wanted += [PathRequest(root, "read") for root in roots]
        return wanted

    async def run(self, arguments: AnalyzeArguments, context: ToolContext) -> ToolResult:
        paths = _paths(arguments, context)
        if context.progress:
            context.progress(f"reading {', '.join(paths)}")
        sources = await anyio.to_thread.run_sync(
            read_sources, context.workspace, paths, context.readable
        )
        if context.progress:
            context.progress(f"checking {len(sources.texts)} files")
        found = await survey(sources, arguments.checks)
        derived = None
        if "tests" in arguments.checks:
            derived = await anyio.to_thread.run_sync(derive_tests, found.python, sources, tick)
        result = Result.of(arguments.checks, sources, found, derived)
        return ToolResult(as_lines(result, arguments.max_bytes))


def _paths(arguments: AnalyzeArguments, context: ToolContext) -> tuple[str, ...]:
    """The paths that are meant, by their names in the workspace."""
    wanted = arguments.paths or context.scope or (".",)
    return tuple(dict.fromkeys(context.workspace.name(path) for path in wanted))
