import pytest
from sashizu_core.specs import ModelSpec, ToolSpec
from sashizu_core.testing.model import ModelContract
from sashizu_core.testing.plugin import PluginContract
from sashizu_core.testing.tool import ToolContract
from sashizu_offline.plugin import register_models, register_tools


class TestPlugin(PluginContract):
    module = "sashizu_offline.plugin"


class TestOfflineModel(ModelContract):
    @pytest.fixture
    def spec(self) -> ModelSpec:
        return register_models()[0]


class TestAnalyze(ToolContract):
    call = {"paths": ["src"], "checks": ["review", "security", "tests"]}  # noqa: RUF012

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return register_tools()[0]
