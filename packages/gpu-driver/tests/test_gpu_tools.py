"""The tools that tell models what devices do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
from sashizu_core.errors import ToolError
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec
from sashizu_core.testing import ToolContract
from sashizu_core.types import StepKind
from sashizu_gpu_driver.fake import FakeDevice, FakeProcess, FakeState, write_state
from sashizu_gpu_driver.plugin import register_tools

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "devices.json"
    device = FakeDevice(
        id="fake-0",
        readings={"busy_percent": 40},
        processes=[FakeProcess(pid=42, used_bytes=1024, name="llama-server")],
    )
    write_state(file, FakeState(devices=[device, FakeDevice(id="fake-1")]))
    return Settings({"gpu": {"fake": str(file)}, "devices": {"backends": ["fake"]}})


class TestStats(ToolContract):
    @pytest.fixture
    def spec(self, settings: Settings) -> ToolSpec:
        return register_tools(settings)[0]


class TestProcesses(ToolContract):
    call: ClassVar[Mapping[str, Any]] = {"device": "fake-0"}

    @pytest.fixture
    def spec(self, settings: Settings) -> ToolSpec:
        return register_tools(settings)[1]


async def asked(settings: Settings, tool_name: str, **arguments: str) -> Any:
    (spec,) = [spec for spec in register_tools(settings) if spec.name == tool_name]
    async with spec.open() as tool:
        assert tool.kind is StepKind.PURE
        parsed = tool.parse(json.dumps(arguments))
        context: Any = None
        assert list(tool.requests(parsed, context)) == []
        with anyio.fail_after(60):
            return json.loads((await tool.run(parsed, context)).content)


async def test_stats_are_those_of_the_command(settings: Settings) -> None:
    told = await asked(settings, "gpu_stats")
    assert [one["id"] for one in told["devices"]] == ["fake-0", "fake-1"]
    first = told["stats"][0]
    assert first["busy_percent"]["value"] == 40
    assert "unknown" in first["power_w"]


async def test_one_device_can_be_asked_for(settings: Settings) -> None:
    told = await asked(settings, "gpu_stats", device="fake-1")
    assert [one["device"] for one in told["stats"]] == ["fake-1"]
    with pytest.raises(ToolError, match="there are: fake-0, fake-1"):
        await asked(settings, "gpu_stats", device="nobody")


async def test_processes_are_those_of_the_command(settings: Settings) -> None:
    (told,) = await asked(settings, "gpu_processes", device="fake-0")
    assert told["processes"][0]["name"] == "llama-server"


async def test_tools_of_one_process_share_one_sampler(settings: Settings) -> None:
    stats, processes = register_tools(settings)
    async with stats.open() as one, processes.open() as two:
        opened: Any = (one, two)
        first, second = [await tool._opened.get() for tool in opened]
        assert first is second
    assert opened[0]._opened._found is None
