"""What every backend of Windows AI promises: the fake, and the one that says why nothing works."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import anyio
import pytest
from sashizu_winai.backend import Backend, GeneratedStatus
from sashizu_winai.capabilities import Capability
from sashizu_winai.choosing import backend_of_this_system
from sashizu_winai.entities import ActionInfo, ActionInput, Entity, EntityKind
from sashizu_winai.errors import Missing, NotReady, WindowsAiError
from sashizu_winai.fake import FakeBackend, smallest
from sashizu_winai.filtering.verdicts import Parties
from sashizu_winai.hosting.calls import HostedAnswer
from sashizu_winai.unavailable import UnavailableBackend

CLASS = UUID(int=1)
SAID = ActionInput("text", "text")
TEXT = {"text": Entity(EntityKind.TEXT, "hello")}
ASKED = (Capability.ACTIONS, Capability.LANGUAGE_MODEL)
BACKENDS: list[Callable[[], Backend]] = [
    FakeBackend,
    UnavailableBackend,
    lambda: FakeBackend(downloaded=False),
]


@pytest.fixture(params=BACKENDS, ids=["fake", "unavailable", "not-downloaded"])
def backend(request):
    return request.param()


async def test_every_probe_says_why_and_what_is_not_ready_cannot_be_used(backend):
    actions, model = [await backend.probe(one) for one in ASKED]

    assert actions.reason
    assert model.reason
    if actions.ready:
        assert await backend.list_actions([])
    else:
        with pytest.raises(WindowsAiError) as caught:
            await backend.list_actions([])
        assert caught.value.state == actions.state
    if not model.ready:
        with pytest.raises(WindowsAiError) as caught:
            await backend.generate("x", json_schema=None, on_text=print)
        assert caught.value.state == model.state
        assert caught.value.remedy == model.remedy


async def test_an_action_that_is_not_there_is_a_typed_error(backend):
    with pytest.raises(WindowsAiError) as caught:
        await backend.invoke_action("no.such", TEXT, None)
    assert "no.such" in caught.value.operation


async def test_what_is_streamed_is_what_is_given(backend):
    try:
        await backend.prepare_model()
    except WindowsAiError:
        assert backend.name == "unavailable"
        return
    pieces: list[str] = []
    given = await backend.generate("Say it.", json_schema=None, on_text=pieces.append)

    assert given.status is GeneratedStatus.COMPLETE
    assert "".join(pieces) == given.text
    assert await backend.usable_prompt("\U0001f600") == 2


class Provider:
    """One action of ours, and a filter that lets nobody talk."""

    actions = (ActionInfo("ours.say", "Say it.", "ours", True, False, False, ((SAID,),)),)

    def __init__(self):
        self.calls = []

    async def invoke(self, call):
        self.calls.append(call)
        return HostedAnswer("success", {"text": Entity(EntityKind.TEXT, "said")})

    async def connection(self, parties):
        return None


async def test_what_is_hosted_is_carried_out_while_it_is_open(backend):
    provider, hosting = Provider(), backend.hosted(Provider(), CLASS)
    if backend.name == "unavailable":
        with pytest.raises(WindowsAiError, match="from a package"):
            async with hosting:
                pass
        return
    async with backend.hosted(provider, CLASS):
        outcome = await backend.invoke_action("ours.say", TEXT, None)
        assert outcome.outputs["text"].value == "said"
        assert provider.calls[0].inputs == TEXT
    with pytest.raises(Missing):
        await backend.invoke_action("ours.say", TEXT, None)


async def test_a_filter_is_asked_while_it_is_open(backend):
    if backend.name == "unavailable":
        with pytest.raises(WindowsAiError, match="experiment"):
            async with backend.filtered(Provider(), CLASS):
                pass
        return
    parties = Parties("client", 1, "server", 2, "id")
    async with backend.filtered(Provider(), CLASS):
        assert await backend.connect(parties) == [None]
    assert await backend.connect(parties) == []


async def test_an_execution_provider_that_is_made_ready_has_a_library(backend):
    try:
        listed = await backend.execution_providers()
    except WindowsAiError:
        assert backend.name == "unavailable"
        with pytest.raises(WindowsAiError, match="prepare"):
            await backend.ready_provider("any")
        return
    for one in listed:
        ready = await backend.ready_provider(one.name)
        assert (ready.name, ready.state) == (one.name, "ready")
        assert ready.library
    assert {one.state for one in await backend.execution_providers()} == {"ready"}
    with pytest.raises(Missing):
        await backend.ready_provider("NoSuchProvider")


async def test_it_can_be_closed_twice(backend):
    await backend.aclose()
    await backend.aclose()


async def test_the_fake_lists_what_fits_the_inputs():
    fake = FakeBackend()

    assert {one.id for one in await fake.list_actions([TEXT["text"]])} > {"fake.echo"}
    assert await fake.list_actions([Entity(EntityKind.URI, "https://example.org")]) == []


@pytest.mark.parametrize(
    ("action", "inputs", "status"),
    [
        ("fake.upper", TEXT, "success"),
        ("fake.upper", {}, "unsupported"),
        ("fake.absent", TEXT, "unavailable"),
    ],
)
async def test_the_fake_ends_an_action_in_each_way(action, inputs, status):
    fake = FakeBackend()

    outcome = await fake.invoke_action(action, inputs, "positive")

    assert outcome.status == status
    assert outcome.backend == "fake"
    assert {name: one.value for name, one in outcome.outputs.items()} == (
        {"text": "HELLO"} if status == "success" else {}
    )
    assert fake.invoked == [(action, inputs, "positive")]


async def test_a_cancelled_action_is_cancelled_in_the_backend():
    fake = FakeBackend()
    with anyio.move_on_after(0.01) as scope:
        await fake.invoke_action("fake.hang", TEXT, None)

    assert scope.cancelled_caught
    assert fake.cancelled == 1


async def test_the_model_of_the_fake_has_to_be_prepared_where_it_is_not_downloaded():
    fake = FakeBackend(downloaded=False)
    with pytest.raises(NotReady):
        await fake.generate("x", json_schema=None, on_text=print)
    await fake.prepare_model()
    assert (await fake.probe(Capability.LANGUAGE_MODEL)).ready


def test_a_system_that_is_not_windows_gets_the_backend_that_says_so():
    assert isinstance(backend_of_this_system("linux"), UnavailableBackend)


async def test_windows_without_the_projections_is_told_how_to_install_them():
    backend = backend_of_this_system("win32")  # this Python has none

    probe = await backend.probe(Capability.ACTIONS)

    assert probe.state == "missing"
    assert "not installed" in probe.reason
    assert "pip install" in probe.remedy
    with pytest.raises(Missing):
        await backend.list_actions([])


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": "a"}, "a"),
        ({"enum": [2, 3]}, 2),
        ({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}, {"n": 0}),
        ({"type": "array"}, []),
        ({"type": "boolean"}, False),
        ({}, None),
    ],
)
def test_the_smallest_value_fits_its_schema(schema, value):
    assert smallest(schema) == value
