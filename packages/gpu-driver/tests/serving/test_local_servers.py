"""Servers of local models: started where there is room, shared, ended when not needed."""

import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import urllib.request
from dataclasses import replace

import anyio
import pytest
from sashizu_core.errors import ConfigError, ModelError, SashizuError
from sashizu_core.processes import this_process
from sashizu_core.settings import load_settings
from sashizu_gpu_driver.admission.asked import Rules
from sashizu_gpu_driver.admission.file import LedgerDamaged
from sashizu_gpu_driver.serving import keeper, local
from sashizu_gpu_driver.serving.beating import beating
from sashizu_gpu_driver.serving.opening import local_models
from sashizu_gpu_driver.serving.order import Order


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


async def test_a_server_that_runs_out_of_memory_again_waits_for_still_more(lab):
    info = lab.model("one", 10, "--oom-until", "2")

    async with lab.place(info):
        pass

    assert lab.outcomes() == ["placed", "failed"] * 2 + ["placed"]
    needs = [told["need"] for told in lab.told if told["outcome"] == "placed"]
    assert [int(need * 1.25) for need in needs[:2]] == needs[1:]


async def test_a_server_that_had_a_whole_device_and_no_memory_is_not_tried_for_ever(lab):
    info = lab.model("one", 20, "--oom-until", "9")

    with pytest.raises(ModelError, match="out of memory") as caught:
        async with lab.place(info):
            pass

    assert caught.value.fault == "overloaded"
    assert lab.outcomes() == ["placed", "failed"] * 2
    assert lab.controller.state() == ([], [])


def test_a_process_says_that_it_is_there_while_it_may_call_models():
    heard = threading.Event()

    class Hearing:
        rules = Rules(beat_s=0.001)

        def beat(self, owner, now):
            assert owner == this_process()
            heard.set()

    with beating(Hearing()):
        assert heard.wait(60)


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
    info = lab.model("one", 16, "--worker", keep="10m")
    async with lab.place(info):
        pass
    ((place,), _) = lab.controller.state()

    os.kill(place.keeper.pid, signal.SIGKILL)

    await eventually(lambda: not alive(lab.starts("one")[0]["pid"]))
    await eventually(lambda: not alive(lab.starts("one")[0]["worker"]))
    async with lab.place(lab.model("two", 16)):
        pass


async def test_a_model_may_be_placed_on_the_processors_of_the_machine(lab):
    info = lab.model("one", 1, on="host")

    async with lab.place(info):
        (start,) = lab.starts("one")

    assert start["cuda"] == ""
    assert lab.told[0]["devices"][0]["device"] == "host"


async def test_who_is_cancelled_when_it_was_placed_leaves_no_place_behind(lab, eventually):
    info = lab.model("one", 16)

    with anyio.CancelScope() as scope:
        async with lab.admission.place(info, lambda _: scope.cancel()):
            pass

    assert scope.cancelled_caught
    await eventually(lambda: lab.controller.state() == ([], []))


async def test_who_is_cancelled_while_its_server_starts_leaves_no_place_behind(lab, eventually):
    never = ("import time; time.sleep(600)",)
    info = lab.model("one", 16, start=(sys.executable, "-c", *never))

    async with anyio.create_task_group() as group:

        async def call():
            async with lab.place(info):
                pytest.fail("it does not answer")

        group.start_soon(call)
        await eventually(lambda: any(place.server for place in lab.controller.state()[0]))
        (server,) = (place.server for place in lab.controller.state()[0])
        group.cancel_scope.cancel()

    await eventually(lambda: lab.controller.state() == ([], []))
    await eventually(lambda: not alive(server))


async def test_a_decision_that_cannot_be_recorded_leaves_no_place_behind(lab):
    def told(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with lab.admission.place(lab.model("one", 16), told):
            pass

    assert lab.controller.state() == ([], [])


async def test_a_keeper_that_cannot_be_started_leaves_no_place_behind(lab, monkeypatch):
    def fails(_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(local, "_started", fails)

    with pytest.raises(ModelError, match="temporarily unavailable"):
        async with lab.place(lab.model("one", 16)):
            pass

    assert lab.controller.state() == ([], [])


async def test_a_keeper_that_ends_without_a_word_leaves_no_place_behind(lab, monkeypatch):
    monkeypatch.setattr(local, "_first_line", lambda process: process.kill() or b"")

    with pytest.raises(ModelError, match="without a word"):
        async with lab.place(lab.model("one", 16)):
            pass

    assert lab.controller.state()[0] == [] or lab.controller.state()[0][0].uses == 0


async def test_a_server_of_somebody_else_is_not_taken_for_ours(lab, monkeypatch):
    info = lab.model("one", 8)
    port = int(info.endpoint.rpartition(":")[2].partition("/")[0])

    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", port))
        foreign.listen()
        with pytest.raises(ModelError, match="another server answers"):
            async with lab.place(info):
                pytest.fail("its prompts would have gone to a stranger")

    assert not (lab.folder / "one.log").exists()
    assert lab.controller.state() == ([], [])


async def test_a_server_that_wants_a_key_has_started(lab):
    async with lab.place(lab.model("one", 8, "--needs-key")):
        assert lab.outcomes() == ["placed"]


async def test_a_server_runs_in_no_repository(lab, monkeypatch, tmp_path):
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")

    async with lab.place(lab.model("one", 8)):
        (start,) = lab.starts("one")

    assert start["folder"] == str(lab.file.path.parent)


async def test_a_log_stays_in_its_folder_whatever_a_model_is_called(lab):
    info = lab.model("one", 8)
    name = "../../one"
    lab.models[name] = replace(lab.models["one"], name=name)

    async with lab.place(replace(info, provider=name)):
        assert [file.name for file in lab.folder.glob("server-*")] == ["server-.._.._one.log"]


async def test_an_answer_is_not_lost_to_a_ledger_that_cannot_be_written(lab, monkeypatch):
    monkeypatch.setattr("sashizu_gpu_driver.admission.file.BUSY_S", 0.05)
    info = lab.model("one", 8, keep="10m")

    async with lab.place(info):
        blocker = sqlite3.connect(lab.file.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
    blocker.execute("ROLLBACK")
    blocker.close()
    async with lab.place(info):
        assert [place.uses for place in lab.controller.state()[0]] == [1]

    ((place,), _) = lab.controller.state()
    assert place.uses == 0
    os.kill(place.keeper.pid, signal.SIGTERM)


def kept_while(monkeypatch, *answers):
    """What a keeper does whose ledger answers so, whether the server may leave."""
    asked, done = iter(answers), []

    class Ledger:
        def may_leave(self, *_):
            answer = next(asked)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def left(self, place, *_):
            done.append(place)

    class Server:
        def poll(self):
            return None

    monkeypatch.setattr(keeper, "POLL_S", 0)
    monkeypatch.setattr(keeper, "_stop", lambda _: done.append("stopped"))
    order = Order(
        ledger="l",
        place=7,
        argv=(),
        env={},
        url="u",
        log="g",
        start_timeout_s=1,
        keep_s=0,
    )
    keeper._keep(order, Server(), Ledger())
    return done


def test_a_keeper_does_not_end_what_is_in_use_because_the_ledger_is_locked(monkeypatch):
    locked = SashizuError("locked")

    assert kept_while(monkeypatch, locked, locked, True) == ["stopped", 7]


def test_a_keeper_whose_ledger_is_damaged_does_not_stay_for_ever(monkeypatch):
    assert kept_while(monkeypatch, LedgerDamaged("no database")) == ["stopped"]


def test_two_servers_cannot_answer_at_one_place(tmp_path):
    tables = "".join(
        f"""
[models.{name}]
base_url = "http://127.0.0.1:8081/v1"
[models.{name}.local]
start = ["{name}"]
vram = "1GiB"
"""
        for name in ("one", "two")
    )
    (tmp_path / "sashizu.toml").write_text(tables)

    with pytest.raises(ConfigError, match=r"\[models.two\].*another port"):
        local_models(load_settings(tmp_path / "project", config=tmp_path, env={}))


def test_weights_that_cannot_be_read_are_a_problem_of_their_model_alone(tmp_path):
    tables = "".join(
        f"""
[models.{name}]
base_url = "http://127.0.0.1:{port}/v1"
[models.{name}.local]
start = ["{name}"]
{size}
"""
        for name, port, size in (("one", 8081, 'vram = "1GiB"'), ("two", 8082, 'weights = "gone"'))
    )
    (tmp_path / "sashizu.toml").write_text(tables)

    found = local_models(load_settings(tmp_path / "project", config=tmp_path, env={}))

    assert not found["one"].problem
    assert "[models.two]: the weights 'gone' cannot be read" in found["two"].problem


async def test_a_call_of_a_model_with_a_problem_is_refused_with_it(lab):
    info = lab.model("one", 1)
    lab.models["one"] = replace(lab.models["one"], problem="the weights cannot be read")

    with pytest.raises(ModelError, match="the weights cannot be read"):
        async with lab.place(info):
            pass

    assert lab.outcomes() == ["refused"]


def test_the_log_of_a_server_that_runs_long_keeps_its_newest_part(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "LOG_MOST", 100)
    monkeypatch.setattr(keeper, "LOG_KEPT", 10)
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as server:
        server.write(b"x" * 100)
        keeper._shorten(log)
        assert log.stat().st_size == 100
        server.write(b"the end")
        keeper._shorten(log)
        server.write(b", and more")

    assert log.read_bytes() == b"xxxthe end, and more"
