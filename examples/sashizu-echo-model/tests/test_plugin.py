"""Five lines each: what every plugin and every model promises."""

import pytest
from sashizu_core.settings import Settings
from sashizu_core.testing import ModelContract, PluginContract
from sashizu_core.types import Message, ModelRequest
from sashizu_echo_model import plugin
from sashizu_echo_model.model import EchoModel


class TestPlugin(PluginContract):
    module = "sashizu_echo_model.plugin"


class TestModel(ModelContract):
    full_name = "echo/x"
    tools = False

    @pytest.fixture
    def spec(self):
        return plugin.register_models(Settings())[0]


async def test_the_prefix_of_the_settings_stands_before_the_answer():
    (spec,) = plugin.register_models(Settings({"echo": {"prefix": "> "}}))
    async with spec.open("echo/x") as model:
        answer = await model.complete(ModelRequest((Message("user", "hé"),)))
    assert answer.message.content == "> hé"
    assert answer.finish_reason == "stop"


async def test_an_answer_is_cut_between_characters():
    answer = await EchoModel("echo/x").complete(
        ModelRequest((Message("user", "éé"),), max_output_tokens=3)
    )
    assert answer.message.content == "é"
    assert answer.finish_reason == "length"
