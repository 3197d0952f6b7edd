"""The on-device model: the backend on the real projections, and a component behind them."""

from functools import partial

import anyio
import pytest
from com import Later
from model import STATES, STATUSES, STRUCTURED, Model, ReadyResult
from sashizu_core.errors import ModelError
from sashizu_core.types import Message, ModelRequest
from sashizu_winai._winrt import PyWinRtBackend
from sashizu_winai.backend import GeneratedStatus
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import HRESULTS, Crashed, Denied, Missing, NotReady
from sashizu_winai.model import WindowsModel
from sashizu_winai.runtime import WindowsAiRuntime

ANSWER = "Grüße, 語 and \N{GRINNING FACE}."
ASKED = ModelRequest((Message("user", "Say it."),))


@pytest.fixture
async def backend(windows):
    backend = PyWinRtBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
async def ready(backend):
    await backend.prepare_model()
    return backend


async def heard(backend, schema=None):
    pieces = []
    given = await backend.generate("Say it.", json_schema=schema, on_text=pieces.append)
    return given, pieces


@pytest.mark.parametrize(("name", "number"), [*STATES.items(), ("A_LATER_ONE", 99)])
async def test_every_state_of_the_model_is_told_in_words(backend, windows, name, number):
    windows.models.state = number
    probe = await backend.probe(Capability.LANGUAGE_MODEL)
    assert probe.ready == (name == "READY")
    assert probe.reason
    assert bool(probe.remedy) != probe.ready
    assert probe.state == {
        "READY": "ready",
        "NOT_SUPPORTED_ON_CURRENT_SYSTEM": "unsupported",
        "DISABLED_BY_USER": "denied",
        "CAPABILITY_MISSING": "denied",
        "NOT_COMPATIBLE_WITH_SYSTEM_HARDWARE": "unsupported",
    }.get(name, "not_ready")


@pytest.mark.parametrize("schema", [None, '{"type": "object"}'])
async def test_an_answer_comes_in_pieces_and_as_a_whole(ready, windows, schema):
    given, pieces = await heard(ready, schema)
    assert given.status is GeneratedStatus.COMPLETE
    assert given.text == ANSWER
    assert pieces == windows.model.pieces
    assert windows.model.prompts == [("Say it.",) if schema is None else ("Say it.", schema)]


@pytest.mark.parametrize(
    ("plain", "name"),
    [(True, name) for name in STATUSES] + [(False, name) for name in STRUCTURED],
)
async def test_every_way_a_generation_ends_is_told_by_its_name(ready, windows, plain, name):
    windows.model.status, windows.model.error = name, 0x80004005
    given, _ = await heard(ready, None if plain else "{}")
    known = {one.value for one in GeneratedStatus}
    assert given.status == (name.lower() if name.lower() in known else "unknown")
    assert given.hresult == 0x80004005


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("PROMPT_LARGER_THAN_CONTEXT", "context_too_long"),
        ("BLOCKED_BY_POLICY", "content_filter"),
        ("PROMPT_BLOCKED_BY_CONTENT_MODERATION", "content_filter"),
        ("RESPONSE_BLOCKED_BY_CONTENT_MODERATION", "content_filter"),
        ("UNSUPPORTED_LANGUAGE", "invalid_request"),
        ("LANGUAGE_MISMATCH", "invalid_request"),
        ("ERROR", "transport"),
        ("INCOMPATIBLE_LOW_RANK_ADAPTER", "protocol"),
    ],
)
async def test_a_model_of_ours_fails_as_the_status_says(backend, windows, name, fault):
    windows.model.status = name
    with pytest.raises(ModelError) as caught:
        await WindowsModel(backend).complete(ASKED)
    assert (caught.value.fault, caught.value.sent) == (fault, True)


async def test_a_model_of_ours_streams_what_comes(backend, windows):
    shown = []
    model = WindowsModel(backend)
    said = await model.complete(ASKED, on_text=shown.append)
    assert said.message.content == ANSWER == "".join(shown)
    assert len(shown) == 3


async def test_a_prompt_that_does_not_fit_is_never_sent(backend, windows):
    windows.model.context = 5
    with pytest.raises(ModelError, match="context takes 5") as caught:
        await WindowsModel(backend).complete(ASKED)
    assert (caught.value.fault, caught.value.sent) == ("context_too_long", False)
    assert windows.model.prompts == []


async def test_a_prompt_is_measured_in_utf_16(ready):
    assert await ready.usable_prompt("\N{GRINNING FACE}") == 2


async def test_a_generation_that_hangs_is_cancelled_in_windows(backend, windows):
    windows.model.later = Later(hangs=True)
    with pytest.raises(ModelError) as caught:
        await WindowsModel(backend, silence=0.2).complete(ASKED)
    assert caught.value.fault == "timeout"
    assert windows.model.later.cancelled.is_set()


async def test_whoever_gives_up_cancels_the_generation(ready, windows):
    windows.model.later = Later(hangs=True)
    with anyio.move_on_after(0.2) as scope:
        await heard(ready)
    assert scope.cancelled_caught
    assert windows.model.later.cancelled.is_set()


async def test_a_component_that_dies_in_the_middle_is_told_from_other_failures(ready, windows):
    windows.model.later = Later(pieces=["half"], fails=0x800706BE)
    with pytest.raises(Crashed):
        await heard(ready)


@pytest.mark.parametrize("code", sorted(HRESULTS), ids=hex)
@pytest.mark.parametrize("where", ["GetReadyState", "EnsureReadyAsync", "CreateAsync"])
async def test_every_hresult_on_the_way_to_the_model_becomes_its_error(
    backend, windows, where, code
):
    windows.models.failing[where] = code
    asked = backend.prepare_model
    if where == "GetReadyState":
        asked = partial(backend.probe, Capability.LANGUAGE_MODEL)
    with pytest.raises(HRESULTS[code].error) as caught:
        await asked()
    assert caught.value.hresult == code


@pytest.mark.parametrize(
    ("ready_result", "error", "words"),
    [
        (("FAILURE", 0x80073D3B, "the download failed"), NotReady, "deployed"),
        (("FAILURE", 0, "the disk is full"), NotReady, "the disk is full"),
        (("FAILURE", 0x80004005, "Not declared by app"), Denied, "declare"),
        (("IN_PROGRESS", 0, ""), NotReady, "did not become ready"),
    ],
)
async def test_a_model_that_cannot_be_made_ready_says_why(
    backend, windows, ready_result, error, words
):
    windows.models.ready = Later(ReadyResult(*ready_result))
    with pytest.raises(error, match=words):
        await backend.prepare_model()
    with pytest.raises(NotReady, match="not prepared"):
        await heard(backend)


async def test_making_it_ready_can_be_given_up(backend, windows):
    windows.models.ready = Later(hangs=True)
    with anyio.move_on_after(0.2):
        await backend.prepare_model()
    assert windows.models.ready.cancelled.is_set()


async def test_an_older_build_without_answers_in_json_says_that_it_is_old(ready, windows):
    old = Model(without=["Microsoft.Windows.AI.Text.ILanguageModel3"])
    windows.models.created = Later(old)
    await ready.prepare_model()
    assert (await heard(ready))[0].text == ANSWER
    with pytest.raises(Missing, match="this build of Windows lacks it"):
        await heard(ready, "{}")


@pytest.mark.parametrize("code", [0x80670016, 0x8007007E, 0x80070005], ids=hex)
async def test_without_the_windows_app_runtime_the_model_is_not_even_asked(
    backend, bootstrap, code
):
    bootstrap.ends(code)
    runtime = await WindowsAiRuntime.create(backend=backend)
    probe = (await runtime.probe()).of(Capability.LANGUAGE_MODEL)
    assert (probe.state, probe.hresult) == (HRESULTS[code].error.state, code)
    assert bootstrap.loaded == 0


async def test_everything_is_given_back(windows, bootstrap):
    backend = PyWinRtBackend()
    await backend.prepare_model()
    await heard(backend)
    assert bootstrap.loaded == 1
    await backend.aclose()
    assert bootstrap.loaded == 0
    assert (windows.model.held, windows.model.closed) == (0, 1)
