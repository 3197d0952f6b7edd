"""A tool of a server does what every tool has to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from sashizu_core.protocols import Tool
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.tool import ToolContract


class TestServedTool(ToolContract):
    call: ClassVar = {"word": "hello"}

    @pytest.fixture
    def spec(self, run, table) -> ToolSpec:
        @asynccontextmanager
        async def open_() -> AsyncIterator[Tool]:
            async with run(good=table("described", timeout="20s")) as one:
                yield (await one.tools("good/echo")).tools["good/echo"]

        return ToolSpec("good/echo", "says a word", open_)
