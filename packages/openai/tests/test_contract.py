"""The contract of models, kept by both APIs against a well-behaved server."""

import pytest
from sashizu_core.errors import ModelError
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec
from sashizu_core.testing import ModelContract
from sashizu_openai.offers import model_specs

WORDS = [f"word{number} " for number in range(40)]


@pytest.fixture
def well_behaved(server, wire):
    """A server whose tokens are words, and which keeps the output cap."""

    async def handler(connection, request):
        asked = request.json
        if request.target.endswith("/input_tokens"):
            await connection.answer(200, {"object": "x", "input_tokens": len(request.body) // 4})
            return
        last = (asked.get("messages") or asked.get("input"))[-1]
        if asked.get("tools") and last.get("role") == "user":
            await connection.events(calls(wire))
        else:
            cap = wire.cap(request)
            reason = "length" if len(WORDS) > cap else "stop"
            written = min(cap, len(WORDS))
            text = "".join(WORDS[:written])
            read = len(request.body) // 4
            await connection.events(wire.stream(text, reason, read=read, written=written))
        await connection.end()

    server.serves(handler)
    return server


def calls(wire) -> bytes:
    path = '{"path": "README.md"}'
    if wire.api == "chat":
        return b"".join(
            [
                wire.opening(),
                wire.call(0, "a", "read_file", path[:9], path[9:]),
                wire.call(1, "b", "read_file", path),
                wire.finish("tool_calls"),
                wire.usage(50, 12),
                b"data: [DONE]\n\n",
            ]
        )
    items = [wire.function_call("a", "read_file", path), wire.function_call("b", "read_file", path)]
    return wire.opening() + wire.end(*items, usage=wire.counts(50, 12))


def spec_at(url: str, api: str) -> ModelSpec:
    table = {"base_url": url, "api": api, "model": "m-1", "count": True}
    settings = Settings(tables={"models": {"test": table}})
    return next(spec for spec in model_specs(settings, {}) if spec.name == "test")


class TestBothApis(ModelContract):
    @pytest.fixture
    def spec(self, well_behaved, wire) -> ModelSpec:
        return spec_at(well_behaved.url, wire.api)

    @pytest.fixture
    async def failing(self, wire):
        async with spec_at("http://127.0.0.1:1/v1", wire.api).open("test") as model:
            yield model


async def test_the_failing_model_of_the_contract_fails_before_it_sends(wire, ask) -> None:
    async with spec_at("http://127.0.0.1:1/v1", wire.api).open("test") as model:
        with pytest.raises(ModelError) as caught:
            await model.complete(ask())
    assert not caught.value.sent
