"""The runtime: bounded in time, honest in its probes."""

from __future__ import annotations

import pytest
from sashizu_winai.capabilities import Capability
from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import Crashed, Denied, TimedOut, error_of
from sashizu_winai.fake import FakeBackend
from sashizu_winai.runtime import WindowsAiRuntime
from sashizu_winai.unavailable import UnavailableBackend

TEXT = {"text": Entity(EntityKind.TEXT, "hello")}


async def test_a_probe_covers_every_capability_and_names_the_backend():
    async with WindowsAiRuntime.open(backend=FakeBackend()) as runtime:
        report = await runtime.probe()

    assert report.backend == "fake"
    assert [one.capability for one in report.probes] == list(Capability)
    assert not report.lacking([Capability.ACTIONS])


async def test_a_probe_that_fails_is_a_state_and_no_exception():
    failing = {Capability.ACTIONS: error_of("open", 0x80070005)}
    async with WindowsAiRuntime.open(backend=FakeBackend(failing=failing)) as runtime:
        probe = (await runtime.probe()).of(Capability.ACTIONS)

    assert (probe.state, probe.hresult) == ("denied", 0x80070005)
    assert probe.as_json()["hresult"] == "0x80070005"


class Hanging(FakeBackend):
    async def probe(self, capability):
        return await self.invoke_action("fake.hang", TEXT, None)

    async def list_actions(self, inputs):
        return await self.invoke_action("fake.hang", TEXT, None)


async def test_a_probe_that_hangs_ends_and_says_so():
    runtime = await WindowsAiRuntime.create(backend=Hanging(), timeout=0.01)

    probe = (await runtime.probe()).of(Capability.ACTIONS)

    assert probe.state == "not_ready"
    assert "no answer" in probe.reason
    with pytest.raises(TimedOut):
        await runtime.list_actions()
    await runtime.aclose()


async def test_an_action_that_hangs_is_cancelled_in_time():
    fake = FakeBackend()
    async with WindowsAiRuntime.open(backend=fake) as runtime:
        with pytest.raises(TimedOut, match=r"fake\.hang.*no answer within 0\.01 s"):
            await runtime.invoke_action("fake.hang", TEXT, timeout=0.01)
    assert fake.cancelled == 1


async def test_a_component_that_crashes_is_told_from_other_failures():
    failing = {Capability.ACTIONS: error_of("invoke it", 0x800706BE)}
    async with WindowsAiRuntime.open(backend=FakeBackend(failing=failing)) as runtime:
        with pytest.raises(Crashed):
            await runtime.invoke_action("fake.echo", TEXT, timeout=5)


async def test_what_is_required_and_not_ready_stops_with_its_remedy():
    failing = {Capability.LANGUAGE_MODEL: error_of("open", 0x80073D54)}
    with pytest.raises(Denied, match="package") as caught:
        await WindowsAiRuntime.create(
            backend=FakeBackend(failing=failing), require={Capability.LANGUAGE_MODEL}
        )
    assert caught.value.remedy


async def test_what_is_required_and_ready_opens():
    runtime = await WindowsAiRuntime.create(backend=FakeBackend(), require={Capability.ACTIONS})
    assert [one.id for one in await runtime.list_actions()] == sorted(
        one.id for one in await runtime.list_actions()
    )
    await runtime.aclose()


async def test_without_windows_every_capability_of_it_says_why():
    async with WindowsAiRuntime.open(backend=UnavailableBackend()) as runtime:
        report = await runtime.probe()

    for probe in report.lacking([Capability.ACTIONS, Capability.LANGUAGE_MODEL]):
        assert probe.state == "unsupported"
        assert "Windows 11" in probe.reason
        assert probe.remedy
