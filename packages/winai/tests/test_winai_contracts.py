"""The contracts of core: plugin, model and tool."""

from __future__ import annotations

import pytest
from sashizu_core.settings import Settings
from sashizu_core.testing.model import ModelContract
from sashizu_core.testing.plugin import PluginContract
from sashizu_core.testing.tool import ToolContract
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import error_of
from sashizu_winai.fake import FakeBackend
from sashizu_winai.model import WindowsModel
from sashizu_winai.offers import model_specs, tool_specs

FAKE = Settings({"winai": {"fake": True, "actions": ["fake.*"]}})


class TestPlugin(PluginContract):
    module = "sashizu_winai.plugin"


class TestWindowsModel(ModelContract):
    reports_usage = False

    @pytest.fixture
    def spec(self):
        return model_specs(FAKE)[0]

    @pytest.fixture
    def failing(self):
        error = error_of("generate a text", 0x80070005)
        return WindowsModel(FakeBackend(failing={Capability.LANGUAGE_MODEL: error}))


class TestWindowsAction(ToolContract):
    call = {"action": "fake.echo", "inputs": {"text": {"kind": "text", "value": "hi"}}}  # noqa: RUF012

    @pytest.fixture
    def spec(self):
        return tool_specs(FAKE)[0]
