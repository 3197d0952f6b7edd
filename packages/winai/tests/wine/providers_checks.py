"""Windows ML: the backend on the real projections, and a catalogue of ours behind them."""

import anyio
import pytest
from com import Later
from providers import Catalog, ReadyResult
from sashizu_winai._winrt import PyWinRtBackend
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import HRESULTS, Missing, NotReady


@pytest.fixture
async def backend(windows):
    backend = PyWinRtBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
def catalog(windows):
    factory = windows.factories[Catalog.of]
    factory.catalog = Catalog()
    return factory.catalog


async def test_what_the_catalogue_has_is_told(backend, catalog):
    found = await backend.execution_providers()
    assert [(one.name, one.state, one.certified) for one in found] == [
        ("QNN", "ready", True),
        ("OpenVINO", "not_present", False),
    ]
    assert found[0].library == r"C:\providers\QNN.dll"
    probe = await backend.probe(Capability.WINDOWS_ML)
    assert probe.ready
    assert "QNN, OpenVINO" in probe.reason


async def test_a_provider_is_made_ready(backend, catalog):
    assert (await backend.ready_provider("QNN")).name == "QNN"
    with pytest.raises(Missing, match="it has QNN, OpenVINO"):
        await backend.ready_provider("none")


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        (("FAILURE", 0x80073D3B, "no connection"), NotReady, "deployed"),
        (("FAILURE", 0, "the disk is full"), NotReady, "the disk is full"),
    ],
)
async def test_a_provider_that_cannot_be_made_ready_says_why(
    backend, catalog, result, error, words
):
    catalog.providers[0].ready = Later(ReadyResult(*result))
    with pytest.raises(error, match=words):
        await backend.ready_provider("QNN")


async def test_making_a_provider_ready_can_be_given_up(backend, catalog):
    catalog.providers[0].ready = Later(hangs=True)
    with anyio.move_on_after(0.2):
        await backend.ready_provider("QNN")
    assert catalog.providers[0].ready.cancelled.is_set()


@pytest.mark.parametrize("code", [0x80040154, 0x8007007E, 0x80670016], ids=hex)
async def test_without_a_catalogue_the_error_says_what_is_missing(backend, windows, catalog, code):
    windows.factories[Catalog.of].failing["GetDefault"] = code
    with pytest.raises(HRESULTS[code].error) as caught:
        await backend.execution_providers()
    assert caught.value.hresult == code
