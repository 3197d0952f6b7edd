"""Agents as App Actions: what can be expressed, the manifest, and invocations as runs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from sashizu_core.agents import AgentDefinition, AgentEntry, Catalogue
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, memory_sink, scripted_model
from sashizu_winai.capabilities import Capability
from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import WindowsAiError, error_of
from sashizu_winai.fake import FakeBackend
from sashizu_winai.hosting import provider as hosted
from sashizu_winai.hosting.actions import CannotBeHosted, hosted_action, hosted_actions
from sashizu_winai.hosting.calls import HostedCall
from sashizu_winai.hosting.manifest import CLSID, check_manifest, manifest_of
from sashizu_winai.hosting.provider import AgentProvider
from sashizu_winai.hosting.serving import provider_of, serve
from sashizu_winai.settings import winai_settings
from sashizu_winai.unavailable import UnavailableBackend

READER = {"name": "Reader", "goal": "Read\nit.", "tools": {"fs": {"read": True}}}


def entry(scope="user", **more):
    definition = AgentDefinition.model_validate({"name": "helper", "goal": "Help.", **more})
    return AgentEntry(definition, None, scope)


def text(value):
    return Entity(EntityKind.TEXT, value)


# --- what can be expressed ------------------------------------------------------------------------


def test_an_agent_without_files_takes_a_request_and_gives_an_answer():
    action = hosted_action(entry(), "offline")

    assert action.info.id == "sashizu.helper"
    assert [[one.name for one in variant] for variant in action.info.variants] == [["request"]]
    assert [(one.name, one.kind) for one in action.outputs] == [("answer", "text")]
    assert action.info.generative is False
    assert hosted_action(entry(model="phi-silica"), "offline").info.generative is True


def test_an_agent_that_reads_takes_files_and_named_artifacts_are_outputs():
    action = hosted_action(entry(**READER, artifacts=["out/a.pdf", "b.png", "c.csv"]), "offline")

    names = [[one.name for one in variant] for variant in action.info.variants]
    assert ["request", "document"] in names
    assert ["photo"] in names
    assert action.info.description == "Read it."
    assert [(one.name, str(one.kind)) for one in action.outputs[1:]] == [
        ("artifact1", "document"),
        ("artifact2", "photo"),
        ("artifact3", "file"),
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (entry(artifacts=["reports/*.md"]), "has to name its outputs"),
        (entry(scope="repository"), "is a repository's"),
    ],
)
def test_what_cannot_be_expressed_says_so(given, why):
    with pytest.raises(CannotBeHosted, match=why):
        hosted_action(given, "offline")


def test_two_agents_of_one_action_are_refused():
    catalogue = Catalogue((entry(name="my helper"),))
    with pytest.raises(CannotBeHosted, match="both be the action"):
        hosted_actions(catalogue, ["my helper", "My-Helper"], default_model="offline")
    with pytest.raises(UsageError, match="unknown agent"):
        hosted_actions(catalogue, ["nobody"], default_model="offline")


# --- the manifest ---------------------------------------------------------------------------------


def test_the_manifest_says_what_windows_wants_to_know():
    action = hosted_action(entry(**READER, artifacts=["a.md"]), "offline")

    document = manifest_of([action], invokers=["*"])

    (told,) = document["actions"]
    assert document["version"] == 3
    assert told["allowedAppInvokers"] == ["*"]
    assert {"name": "request", "kind": "Text", "required": False} in told["inputs"]
    assert told["inputCombinations"][2] == {
        "inputs": ["request", "file"],
        "description": "Have Reader work on ${request.ShortText}, ${file.FileName}",
    }
    assert told["outputs"] == [
        {"name": "answer", "kind": "Text"},
        {"name": "artifact1", "kind": "File"},
    ]
    assert told["invocation"] == {"type": "COM", "clsid": str(CLSID).upper()}
    json.dumps(document)


def broken(**changes):
    document = manifest_of([hosted_action(entry(), "offline")], invokers=["*"])
    document["actions"][0] |= changes
    return document


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"version": 3, "actions": []}, r"\$\.actions"),
        ({"version": 9, "actions": []}, r"\$\.(actions|version)"),
        (broken(id="no blank"), r"\$\.actions\[0\]\.id"),
        (broken(surprise=1), "surprise"),
        (broken(inputs=[{"name": "x", "kind": "text"}]), r"inputs\[0\]\.kind"),
        (broken(inputs=[{"name": "x", "kind": "Text[3]"}]), r"inputs\[0\]\.kind"),
        (broken(invocation={"type": "COM", "clsid": "1"}), "invocation"),
        (broken(inputCombinations=[{"inputs": ["other"]}]), "does not have"),
        (broken() | {"actions": broken()["actions"] * 2}, "two actions"),
    ],
)
def test_a_manifest_that_windows_would_not_take_is_refused(document, why):
    with pytest.raises(UsageError, match=why):
        check_manifest(document)


def test_a_manifest_in_the_words_of_microsofts_description_is_taken():
    check_manifest(
        {
            "version": 2,
            "actions": [
                {
                    "id": "Contoso.Greet",
                    "description": "Greet",
                    "icon": "ms-resource://Files/Assets/a.png",
                    "inputs": [
                        {"name": "Name", "kind": "Text"},
                        {"name": "Links", "kind": "Uri[]", "required": False},
                    ],
                    "inputCombinations": [
                        {
                            "inputs": ["Name"],
                            "description": "Greet ${Name.Text}",
                            "where": ["${Name.Length > 3}"],
                        }
                    ],
                    "contentAgeRating": "Child",
                    "invocation": {"type": "Uri", "uri": "contoso://greet?name=${Name.Text}"},
                }
            ],
        }
    )


# --- invocations ----------------------------------------------------------------------------------


@pytest.fixture
def hosting(tmp_path, monkeypatch):
    """A provider over a real runtime, with a scripted model; as (provider, sink, model)."""
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root = tmp_path / "work"
    root.mkdir()

    def make(*script, invokers=("*",), **definition):
        given = entry(**{**READER, **definition}).definition
        model, sink = ScriptedModel(list(script)), MemorySink()
        registry = Registry(
            models={model.info.name: scripted_model(model)}, sinks={"memory": memory_sink(sink)}
        )
        told: list[str] = []
        run = partial(
            delegate,
            workspace=root,
            agents=[given],
            model=model.info.name,
            settings=Settings(),
            registry=registry,
        )
        provider = AgentProvider(
            [hosted_action(AgentEntry(given, None, "given"), "offline")],
            workspace=root,
            delegate=run,
            invokers=invokers,
            tell=told.append,
        )
        return provider, sink, model, told

    make.root = root
    return make


async def test_an_invocation_is_a_run_on_record_and_its_answer_an_entity(hosting):
    provider, sink, model, told = hosting("forty-two")
    file = hosting.root / "a.txt"
    file.write_text("x")
    fake = FakeBackend()

    async with fake.hosted(provider, CLSID):
        assert "sashizu.reader" in [one.id for one in await fake.list_actions([])]
        inputs = {"request": text("How many?"), "file": Entity(EntityKind.FILE, str(file))}
        outcome = await fake.invoke_action("sashizu.reader", inputs, None)

    assert (outcome.status, outcome.outputs["answer"].value) == ("success", "forty-two")
    assert "How many?" in model.requests[0].messages[-1].content
    assert "a.txt" in "".join(one.content for one in model.requests[0].messages)
    kinds = sink.kinds()
    assert (kinds[0], kinds[-1]) == ("run.started", "run.ended")
    assert told == []


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({}, 0x80070057),
        ({"request": Entity(EntityKind.FILE, "/etc/passwd")}, 0x80070057),
        ({"file": Entity(EntityKind.FILE, "/etc/passwd")}, 0x80070005),
        ({"request": text("x" * 100_001)}, 0x80070057),
    ],
)
async def test_what_an_agent_may_not_have_starts_no_run(hosting, inputs, code):
    provider, sink, _, told = hosting("never")

    answer = await provider.invoke(HostedCall("sashizu.reader", inputs, "some.app"))

    assert (answer.status, answer.hresult) == ("unsupported", code)
    assert sink.events == []
    assert "some.app" in told[0]


async def test_an_agent_that_does_not_answer_is_told_by_its_code(hosting):
    provider, _, _, told = hosting(ValueError("broken model"))

    answer = await provider.invoke(HostedCall("sashizu.reader", {"request": text("x")}))

    assert answer.status == "unavailable"
    assert answer.hresult == 0x80004005
    assert answer.fault
    assert told
    other = await provider.invoke(HostedCall("sashizu.other", {}))
    assert other.fault == "there is no such action"


async def test_only_the_invokers_of_the_settings_get_an_answer(hosting):
    provider, sink, *_ = hosting("yes", invokers=["Contoso.App_*!App"])

    async def status(invoker):
        call = HostedCall("sashizu.reader", {"request": text("x")}, invoker)
        return (await provider.invoke(call)).status

    assert await status("Other.App_1!App") == "unsupported"
    assert await status("") == "unsupported"
    assert sink.events == []
    assert await status("contoso.app_8wek!App") == "success"


async def test_only_so_many_invocations_wait_for_their_turn(hosting, monkeypatch):
    monkeypatch.setattr(hosted, "MOST_WAITING", 1)
    provider, *_ = hosting("never")
    begun = anyio.Semaphore(0)

    async def work(task):
        begun.release()
        await anyio.sleep_forever()

    busy = AgentProvider(
        provider._hosted.values(), workspace=hosting.root, delegate=work, at_once=1
    )
    call = HostedCall("sashizu.reader", {"request": text("x")})
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(busy.invoke, call)
            await begun.acquire()
            group.start_soon(busy.invoke, call)
            while not busy._limiter.statistics().tasks_waiting:
                await anyio.lowlevel.checkpoint()
            answer = await busy.invoke(call)
            group.cancel_scope.cancel()

    assert (answer.status, answer.hresult) == ("unavailable", 0x800700AA)
    assert "wait already" in answer.fault


async def test_a_link_out_of_the_workspace_is_refused(hosting, tmp_path):
    provider, sink, *_ = hosting("never")
    outside = tmp_path / "secret.txt"
    outside.write_text("x")
    link = hosting.root / "link.txt"
    try:
        link.symlink_to(outside)
    except OSError:
        pytest.skip("no links can be made here")

    call = HostedCall("sashizu.reader", {"file": Entity(EntityKind.FILE, str(link))})

    assert (await provider.invoke(call)).hresult == 0x80070005
    assert sink.events == []


async def test_hosting_ends_when_nobody_asks_and_is_refused_where_it_cannot_be(hosting):
    provider, *_ = hosting("x")
    with anyio.fail_after(10):
        await serve(FakeBackend(), provider, idle_s=0.05)

    refused = error_of("provide actions", 0x80073D54)
    for backend in (
        UnavailableBackend(),
        FakeBackend(failing={Capability.ACTIONS_PROVIDER: refused}),
    ):
        with pytest.raises(WindowsAiError):
            await serve(backend, provider, idle_s=0.05)
    nobody = AgentProvider([], workspace=Path.cwd(), delegate=delegate)
    with pytest.raises(UsageError, match="no agent is hosted"):
        await serve(FakeBackend(), nobody, idle_s=1)


# --- the settings ---------------------------------------------------------------------------------


def hosting_table(**values):
    return Settings({"winai": {"hosting": values}})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"budget": ["many"]}, "budget"),
        ({"budget": ["reader=5000"]}, "cannot have one of its own"),
        ({"deadline": "soon"}, "deadline"),
        ({"at_once": 0}, "at_once"),
        ({"agent": ["x"]}, "agent"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values, why):
    with pytest.raises(ConfigError, match=why):
        winai_settings(hosting_table(**values))


def test_a_provider_needs_a_folder_that_is_named(tmp_path):
    for folder in ("", "relative", str(tmp_path / "none")):
        with pytest.raises(UsageError, match="workspace"):
            provider_of(hosting_table(workspace=folder), Registry(), print)
    made = provider_of(hosting_table(workspace=str(tmp_path), budget=["9000"]), Registry(), print)
    assert made.actions == []


def test_a_provider_needs_a_limit_of_what_an_invocation_may_use(tmp_path):
    table = {"winai": {"hosting": {"workspace": str(tmp_path)}}}
    with pytest.raises(UsageError, match="need a limit"):
        provider_of(Settings(table), Registry(), print)
    assert provider_of(Settings({**table, "run": {"budget": ["9000"]}}), Registry(), print)
