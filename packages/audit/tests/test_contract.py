from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from sashizu_audit.layout import segment_paths
from sashizu_audit.plugin import register_sinks
from sashizu_core.events import Event
from sashizu_core.settings import Settings
from sashizu_core.specs import SinkSpec
from sashizu_core.testing.sink import ReadBack, SinkContract


class TestSink(SinkContract):
    @pytest.fixture
    def spec(self, tmp_path: Path) -> SinkSpec:
        return register_sinks(Settings({"audit": {"dir": str(tmp_path / "audit")}}))[0]

    @pytest.fixture
    def read_back(self, tmp_path: Path) -> ReadBack:
        def read() -> list[Event]:
            lines = [
                orjson.loads(line)
                for path in segment_paths(tmp_path / "audit")
                for line in path.read_bytes().splitlines()
            ]
            return [Event(line["kind"], line) for line in lines]

        return read

    @pytest.fixture
    def program(self, tmp_path: Path) -> str:
        return (
            "from sashizu_audit.plugin import register_sinks\n"
            "from sashizu_core.settings import Settings\n"
            f"settings = Settings({{'audit': {{'dir': {str(tmp_path / 'audit')!r}}}}})\n"
            "spec = register_sinks(settings)[0]"
        )
