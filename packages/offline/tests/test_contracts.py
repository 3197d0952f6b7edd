import pytest
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.model import ModelContract
from sashizu_offline.plugin import register_models


class TestOfflineModel(ModelContract):
    @pytest.fixture
    def spec(self) -> ModelSpec:
        return register_models()[0]
