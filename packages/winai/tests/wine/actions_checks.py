"""App Actions: the backend on the real projections, and components behind them."""

import anyio
import pytest
from actions import Runtime
from com import Component, Failure, Later, plain_class
from sashizu_winai._winrt import _RUNTIME_CLASS, PyWinRtBackend
from sashizu_winai.capabilities import Capability
from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import HRESULTS, Crashed, Failed, Missing, TimedOut, error_of
from sashizu_winai.runtime import WindowsAiRuntime

TEXT = {"text": Entity(EntityKind.TEXT, "grün, 語")}


@pytest.fixture
async def backend(windows):
    backend = PyWinRtBackend()
    yield backend
    await backend.aclose()


def test_what_nothing_serves_is_what_windows_says_of_it(unserved):
    assert error_of("open it", unserved.winerror).hresult == 0x80040154


async def test_a_catalogue_that_answers_is_ready(backend):
    assert (await backend.probe(Capability.ACTIONS)).ready


async def test_actions_are_listed_with_all_that_is_known_of_them(backend):
    found = {one.id: one for one in await backend.list_actions([])}
    upper = found["demo.upper"]
    assert upper.description == "The action demo.upper: größer, 語"
    assert (upper.available, upper.generative, upper.displays_ui) == (True, True, False)
    assert [(one.name, one.kind) for one in found["demo.count"].variants[0]] == [
        ("file", "file"),
        ("text", "text"),
    ]


async def test_only_what_fits_the_inputs_is_listed(backend):
    fitting = await backend.list_actions([Entity(EntityKind.FILE, r"C:\a"), TEXT["text"]])
    assert [one.id for one in fitting] == ["demo.count"]
    assert await backend.list_actions([Entity(EntityKind.URI, "https://example.org/")]) == []


async def test_what_goes_in_comes_out_whatever_its_letters(backend):
    outcome = await backend.invoke_action("demo.upper", TEXT, None)
    assert outcome.status == "success"
    assert outcome.outputs == {"text": Entity("text", "GRÜN, 語")}
    assert outcome.backend == "windows"
    assert outcome.hresult is None


@pytest.mark.parametrize("kind", ["file", "photo", "document", "uri"])
async def test_every_kind_crosses_the_border_and_comes_back(backend, windows, kind):
    value = "https://example.org/ä" if kind == "uri" else r"C:\pictures\ä.png"
    given = {"one": Entity(EntityKind(kind), value)}
    windows.runtime.add("demo.echo", {"one": kind.upper()})
    outcome = await backend.invoke_action("demo.echo", given, None)
    assert outcome.outputs == {"one": Entity(kind, value)}


async def test_what_has_no_value_in_words_is_told_by_its_title(backend, windows):
    windows.runtime.add("demo.table", {}, gives={"rows": "TABLE"})
    outcome = await backend.invoke_action("demo.table", {}, None)
    assert outcome.outputs == {"rows": Entity("table", "a table")}


async def test_feedback_reaches_the_action_that_takes_it(backend, windows):
    await backend.invoke_action("demo.upper", TEXT, "negative")
    assert windows.runtime.feedback == [1]


async def test_an_action_that_a_person_stops_is_an_outcome(backend):
    outcome = await backend.invoke_action("demo.canceled", {}, "positive")
    assert (outcome.status, outcome.hresult) == ("user_canceled", 0x800704C7)


async def test_inputs_that_no_variant_takes_are_refused(backend):
    with pytest.raises(Failed, match="no variant that takes"):
        await backend.invoke_action("demo.upper", {}, None)
    with pytest.raises(Missing, match="no such action"):
        await backend.invoke_action("demo.none", TEXT, None)


async def test_an_action_that_hangs_is_cancelled_in_windows(backend, windows):
    runtime = await WindowsAiRuntime.create(backend=backend)
    with pytest.raises(TimedOut):
        await runtime.invoke_action("demo.hang", TEXT, timeout=0.2)
    assert windows.runtime.hanging.cancelled.is_set()


async def test_a_component_that_dies_is_told_from_other_failures(backend):
    with pytest.raises(Crashed, match="0x800706BE"):
        await backend.invoke_action("demo.dies", TEXT, None)


@pytest.mark.parametrize("code", sorted(HRESULTS), ids=hex)
@pytest.mark.parametrize("where", ["GetAllActions", "InvokeAsync"])
async def test_every_hresult_of_a_method_becomes_its_error(backend, windows, where, code):
    catalog = windows.runtime.action_catalog
    overload = catalog.definitions[0].get_overloads()[0]
    (catalog if where == "GetAllActions" else overload).failing[where] = code
    with pytest.raises(HRESULTS[code].error) as caught:
        await backend.invoke_action("demo.upper", TEXT, None)
    assert caught.value.hresult == code
    assert caught.value.remedy == HRESULTS[code].remedy


@pytest.mark.parametrize("code", sorted(HRESULTS), ids=hex)
async def test_every_hresult_of_an_operation_becomes_its_error(backend, windows, code):
    windows.runtime.add("demo.fails", {}, later=Later(fails=code))
    with pytest.raises(HRESULTS[code].error) as caught:
        await backend.invoke_action("demo.fails", {}, None)
    assert caught.value.hresult == code


@pytest.mark.parametrize("code", sorted(HRESULTS), ids=hex)
async def test_a_probe_tells_why_there_is_no_catalogue(backend, windows, code):
    windows.factories[Runtime.of].failing["GetDefault"] = code
    runtime = await WindowsAiRuntime.create(backend=backend)
    probe = (await runtime.probe()).of(Capability.ACTIONS)
    assert probe.hresult == code
    assert probe.state == HRESULTS[code].error.state
    assert probe.remedy


async def test_an_older_build_tells_less_of_its_actions_and_lists_them(backend, windows):
    hosting = "Windows.AI.Actions.Hosting.IActionDefinition"
    windows.runtime.add("demo.old", {}, without=[f"{hosting}2", f"{hosting}4"])
    old = next(one for one in await backend.list_actions([]) if one.id == "demo.old")
    assert (old.available, old.generative, old.displays_ui) == (True, False, False)


async def test_an_older_build_without_feedback_carries_the_action_out(backend, windows):
    overload = "Windows.AI.Actions.Hosting.IActionOverload2"
    windows.runtime.add("demo.old", {}, overload_without=[overload])
    assert (await backend.invoke_action("demo.old", {}, "positive")).status == "success"


async def test_an_older_build_without_what_is_asked_for_says_that_it_is_old(backend, windows):
    catalog = windows.runtime.action_catalog
    windows.runtime.action_catalog = type(catalog)(
        catalog.definitions, without=["Windows.AI.Actions.Hosting.IActionCatalog2"]
    )
    with pytest.raises(Missing, match="this build of Windows lacks it"):
        await backend.list_actions([TEXT["text"]])


@pytest.fixture
def server():
    """Registers a COM server of the class that older builds have, and counts its objects."""
    made = []

    def make():
        made.append(Runtime())
        return made[-1].face("Windows.AI.Actions.IActionRuntime")

    with plain_class(_RUNTIME_CLASS, make):
        yield made


async def test_before_the_new_builds_the_runtime_comes_from_its_server(backend, windows, server):
    windows.factories[Runtime.of].failing["GetDefault"] = 0x80040154
    assert (await backend.invoke_action("demo.upper", TEXT, None)).status == "success"
    await backend.aclose()
    assert len(server) == 1
    assert server[0].held == 0
    assert server[0].closed == 1


async def test_a_server_that_refuses_is_heard_instead_of_the_class_that_is_not_there(
    backend, windows
):
    def refuse():
        raise Failure(0x80070005)

    windows.factories[Runtime.of].failing["GetDefault"] = 0x80040154
    with plain_class(_RUNTIME_CLASS, refuse):
        runtime = await WindowsAiRuntime.create(backend=backend)
        probe = (await runtime.probe()).of(Capability.ACTIONS)
    assert (probe.state, probe.hresult) == ("denied", 0x80070005)


async def test_everything_is_given_back(windows):
    backend = PyWinRtBackend()
    await backend.list_actions([])
    await backend.invoke_action("demo.upper", TEXT, "positive")
    await backend.aclose()
    assert windows.runtime.held == 0
    assert windows.runtime.closed == 1
    assert [one.held for one in windows.runtime.contexts] == [0]


async def test_many_calls_at_once_keep_their_answers_apart(backend):
    answers = {}

    async def one(number):
        given = {"text": Entity(EntityKind.TEXT, f"x{number}")}
        outcome = await backend.invoke_action("demo.upper", given, None)
        answers[number] = outcome.outputs["text"].value

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    assert answers == {number: f"X{number}" for number in range(20)}


def test_a_fake_in_the_wrong_slot_is_not_what_the_projections_find(served):
    class Shifted(Component):
        of = "Windows.AI.Actions.ActionEntityDisplayInfo"
        title = "right"

    right, wrong = Shifted(), Shifted(moved={6: 7})
    from winrt.runtime.interop import wrap_interface
    from winrt.windows.ai.actions import ActionEntityDisplayInfo

    def titled(component):
        return wrap_interface(component.capsule(), ActionEntityDisplayInfo).title

    assert titled(right) == "right"
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the HRESULT says which
        _ = titled(wrong)
    assert caught.value.winerror & 0xFFFFFFFF == 0x80004001


def test_a_fake_of_another_identity_is_not_what_the_projections_find(served):
    from winrt.runtime.interop import wrap_interface
    from winrt.windows.ai.actions import ActionEntityDisplayInfo

    class Other(Component):
        of = "Windows.AI.Actions.ActionFeedback"

    with pytest.raises((OSError, AttributeError, TypeError)):
        _ = wrap_interface(Other().capsule(), ActionEntityDisplayInfo).title
