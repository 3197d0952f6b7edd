"""Servers of local models: started where there is room, shared, ended when not needed."""

import json
import os
import signal
import urllib.request

import anyio
import pytest
from sashizu_core.errors import ModelError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_call_finds_its_server_running_on_the_device_that_it_was_given(lab):
    info = lab.model("one", 10)

    async with lab.place(info):
        with urllib.request.urlopen(f"{info.endpoint}/models") as answer:
            assert json.load(answer)["data"][0]["id"] == "tiny"
        (start,) = lab.starts("one")
        assert start["cuda"] == lab.state.devices[0].id

    (decision,) = lab.told
    assert decision["outcome"] == "placed"
    assert decision["devices"][0]["room"] > decision["need"]


async def test_the_server_ends_when_nobody_uses_it(lab, eventually):
    async with lab.place(lab.model("one", 10)):
        (start,) = lab.starts("one")
        assert alive(start["pid"])

    await eventually(lambda: not alive(start["pid"]))


async def test_a_server_is_kept_for_the_next_call_as_long_as_was_asked(lab, eventually):
    info = lab.model("one", 10, keep="10m")
    async with lab.place(info):
        pass
    async with lab.place(info):
        pass

    assert len(lab.starts("one")) == 1
    assert lab.outcomes() == ["placed", "joined"]
    ((place,), _) = lab.controller.state()
    os.kill(place.keeper.pid, signal.SIGTERM)
    await eventually(lambda: not alive(lab.starts("one")[0]["pid"]))


async def test_calls_at_the_same_time_share_one_server(lab):
    info = lab.model("one", 10, slots=3)

    async def call():
        async with lab.place(info):
            await all_in.wait()

    all_in = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
        with anyio.fail_after(60):
            while sum(place.uses for place in lab.controller.state()[0]) < 3:
                await anyio.sleep(0.05)
        all_in.set()

    assert len(lab.starts("one")) == 1


async def test_an_unused_model_makes_room_for_another(lab, eventually):
    one, two = lab.model("one", 16, keep="10m"), lab.model("two", 16)
    async with lab.place(one):
        pass

    async with lab.place(two):
        assert not alive(lab.starts("one")[0]["pid"])

    assert lab.outcomes()[0:2] == ["placed", "queued"]
    assert lab.outcomes()[-1] == "placed"


async def test_a_model_waits_while_another_is_in_use_and_says_why(lab, eventually):
    one, two = lab.model("one", 16), lab.model("two", 16)
    entered = anyio.Event()

    async def call():
        async with lab.place(two):
            entered.set()

    async with anyio.create_task_group() as group, lab.place(one):
        group.start_soon(call)
        await eventually(lambda: "queued" in lab.outcomes())
        assert not entered.is_set()
        assert lab.told[-1]["position"] == 1

    assert entered.is_set()


async def test_who_has_waited_long_enough_fails_as_at_a_busy_service(lab):
    one, two = lab.model("one", 16), lab.model("two", 16, spill_after="1s")

    async with lab.place(one):
        with pytest.raises(ModelError) as caught:
            async with lab.place(two):
                pass

    assert caught.value.fault == "overloaded"
    assert lab.outcomes()[-1] == "spilled"


async def test_who_is_cancelled_waits_no_more(lab):
    one, two = lab.model("one", 16), lab.model("two", 16)

    async with lab.place(one):
        with anyio.move_on_after(1):
            async with lab.place(two):
                pass
        assert lab.controller.state()[1] == []


async def test_a_server_without_memory_is_tried_again_with_more(lab):
    info = lab.model("one", 8, "--oom-until", "1")

    async with lab.place(info):
        pass

    assert lab.outcomes() == ["placed", "failed", "placed"]
    assert lab.told[2]["need"] == lab.told[0]["need"] * 1.25


async def test_a_server_that_never_starts_says_what_it_said(lab):
    info = lab.model("one", 8, "--no-such-flag")

    with pytest.raises(ModelError, match="no-such-flag"):
        async with lab.place(info):
            pass

    assert lab.controller.state()[0] == []


async def test_a_command_that_is_not_there_is_named(lab):
    info = lab.model("one", 8, start=("no-such-model-server", "x"))

    with pytest.raises(ModelError, match="'no-such-model-server': no such file"):
        async with lab.place(info):
            pass


async def test_what_can_never_fit_is_refused_with_the_sizes(lab):
    with pytest.raises(ModelError, match="no device ever has more than"):
        async with lab.place(lab.model("one", 40)):
            pass


async def test_the_server_dies_with_its_keeper_and_its_place_is_free_again(lab, eventually):
    info = lab.model("one", 16, keep="10m")
    async with lab.place(info):
        pass
    ((place,), _) = lab.controller.state()

    os.kill(place.keeper.pid, signal.SIGKILL)

    await eventually(lambda: not alive(lab.starts("one")[0]["pid"]))
    async with lab.place(lab.model("two", 16)):
        pass


async def test_a_model_may_be_placed_on_the_processors_of_the_machine(lab):
    info = lab.model("one", 1, on="host")

    async with lab.place(info):
        (start,) = lab.starts("one")

    assert start["cuda"] == ""
    assert lab.told[0]["devices"][0]["device"] == "host"
