"""Unlocking the model: the backend on the real projections, and a component behind them."""

import pytest
from features import STATUSES
from sashizu_winai._winrt import PyWinRtBackend
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import HRESULTS, Denied
from sashizu_winai.runtime import WindowsAiRuntime
from sashizu_winai.unlocking import FEATURE, Unlock

TOKEN = "t0k-" + "Zm9yYmlkZGVu"
SENTENCE = "0123456789abc agrees to the terms."
TAKEN = ("AVAILABLE", "AVAILABLE_WITHOUT_TOKEN")


@pytest.fixture
async def backend(windows):
    backend = PyWinRtBackend(unlock=Unlock(TOKEN, SENTENCE, "OUR_TOKEN"))
    yield backend
    await backend.aclose()


@pytest.mark.parametrize("name", TAKEN)
async def test_the_token_comes_to_windows_as_it_is_and_once(backend, windows, name):
    windows.features.status = STATUSES[name]
    assert (await backend.probe(Capability.LANGUAGE_MODEL)).ready
    await backend.prepare_model()
    assert windows.features.asked == [(FEATURE, TOKEN, SENTENCE)]


@pytest.mark.parametrize(
    ("name", "number"),
    [*((one, STATUSES[one]) for one in sorted(STATUSES.keys() - set(TAKEN))), ("LATER", 99)],
)
async def test_what_is_not_unlocked_is_denied_and_the_model_is_not_asked(
    backend, windows, name, number
):
    windows.features.status = number
    with pytest.raises(Denied) as caught:
        await backend.prepare_model()
    assert ("unavailable" if name == "UNAVAILABLE" else "unknown") in caught.value.found
    assert caught.value.remedy
    assert TOKEN not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    runtime = WindowsAiRuntime(backend, 10.0)
    probe = await runtime.probe_one(Capability.LANGUAGE_MODEL)
    assert (probe.state, probe.remedy) == ("denied", caught.value.remedy)

    windows.features.status = STATUSES["AVAILABLE"]  # it is asked for again
    await backend.prepare_model()


@pytest.mark.parametrize("code", sorted(HRESULTS), ids=hex)
async def test_every_hresult_of_unlocking_becomes_its_error(backend, windows, code):
    windows.features.failing["TryUnlockFeature"] = code
    with pytest.raises(HRESULTS[code].error) as caught:
        await backend.prepare_model()
    assert caught.value.hresult == code
    assert TOKEN not in str(caught.value)


async def test_an_unset_variable_is_denied_before_windows_is_asked(windows):
    backend = PyWinRtBackend(unlock=Unlock("", SENTENCE, "OUR_TOKEN"))
    with pytest.raises(Denied, match="OUR_TOKEN is not set"):
        await backend.prepare_model()
    assert windows.features.asked == []
    await backend.aclose()


async def test_without_a_token_nothing_is_unlocked_and_windows_says_what_it_wants(windows):
    backend = PyWinRtBackend()
    windows.models.failing["GetReadyState"] = 0x80070005
    with pytest.raises(Denied, match=r"winai\.language_model"):
        await backend.probe(Capability.LANGUAGE_MODEL)
    assert windows.features.asked == []
    await backend.aclose()
