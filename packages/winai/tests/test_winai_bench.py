"""`sashizu bench windows`: figures where there is something to measure, a reason where not."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from sashizu_core.devices import DeviceBackend, DeviceSpec, PathAdvice, Probe
from sashizu_core.testing.fakes import MemorySink
from sashizu_winai.bench.command import app
from sashizu_winai.bench.figure import Figure, spread
from sashizu_winai.bench.measuring import FAKE_ACTION, Bench, TimedRecorder, measured
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import error_of
from sashizu_winai.fake import FakeBackend
from sashizu_winai.runtime import WindowsAiRuntime
from sashizu_winai.unavailable import UnavailableBackend
from typer.testing import CliRunner

ROWS = ["invoke", "invoke share", "language model", "driver path", "requests"]
ROUNDS = 5


class Driver(DeviceBackend):
    name = "native"

    def probe(self):
        return Probe("ok")

    def devices(self):
        return []

    def stats(self, device):
        raise AssertionError(device)

    def register_runtime(self, name, paths):
        return Registered()


class Registered:
    pid = 1

    def advise(self, size=0):
        return PathAdvice("cpu", "no device was submitted")

    def close(self):
        pass


@contextmanager
def driver():
    yield Driver()


class WithProjection(FakeBackend):
    """A fake that has something bare to be compared with."""

    async def invoke_bare(self, action_id, inputs):
        return 1e9


async def figures(backend, *, devices=(), sinks=(), action=FAKE_ACTION):
    async with WindowsAiRuntime.open(backend=backend, devices=devices) as runtime:
        recorder = TimedRecorder(sinks, {}) if sinks else None
        found = await measured(Bench(runtime, ROUNDS, recorder, *action))
    assert [one.name for one in found] == ROWS
    return {one.name: one for one in found}


async def test_with_everything_there_every_row_has_figures():
    sink, backend = MemorySink(), WithProjection()
    devices = [DeviceSpec("native", "for tests", driver)]

    found = await figures(backend, devices=devices, sinks=[sink])

    assert not [one.name for one in found.values() if one.unsupported]
    assert found["invoke share"].values["times"] < 1
    assert found["driver path"].note == "cpu: no device was submitted"
    assert "path of the driver" in found["requests"].note
    requests = found["requests"].values
    assert requests["without_disk_p50_ms"] <= requests["p99_ms"]
    assert 0 < requests["p50_ms"] <= requests["p99_ms"]
    kinds = [one.kind for one in sink.events]
    assert kinds == ["tool.requested", "tool.ended"] * (ROUNDS + 1)
    assert "counts no tokens" in found["language model"].note


async def test_without_windows_no_row_has_a_figure_and_each_says_why():
    found = await figures(UnavailableBackend())

    assert all(one.unsupported and not one.values for one in found.values())
    assert "Windows 11" in found["invoke"].unsupported
    assert "pip install sashizu-gpu-driver" in found["driver path"].unsupported


async def test_what_lacks_only_a_part_says_which():
    found = await figures(FakeBackend(), sinks=[MemorySink()])

    assert "no projection" in found["invoke share"].unsupported
    assert "no path: no plugin offers" in found["requests"].note
    found = await figures(FakeBackend(), action=("", {}))
    assert "--action ID" in found["invoke"].unsupported
    assert (await figures(FakeBackend()))["requests"].unsupported.startswith("nothing is recorded")


async def test_a_row_that_fails_leaves_the_others_be():
    failing = {Capability.LANGUAGE_MODEL: error_of("open it", 0x80070005)}
    found = await figures(FakeBackend(failing=failing))

    assert "access is denied" in found["language model"].unsupported
    assert found["invoke"].values


def test_a_figure_tells_its_numbers_or_its_reason():
    assert Figure("a", {"p50_ms": 0.123456}, note="once").text() == "p50_ms 0.1235 (once)"
    assert Figure("a", unsupported="no").as_json()["unsupported"] == "no"
    assert spread([0.003, 0.001, 0.002]) == pytest.approx({"p50_ms": 2, "p99_ms": 3})


def test_the_command_prints_a_row_for_each_and_leaves_nothing_behind(tmp_path, monkeypatch):
    config, home = tmp_path / "config/sashizu", tmp_path / "home"
    config.mkdir(parents=True)
    (config / "sashizu.toml").write_text("[winai]\nfake = true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SASHIZU_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    told = CliRunner().invoke(app, ["windows", "--rounds", "2"], catch_exceptions=False).output
    assert [line[:16].strip() for line in told.splitlines()] == ROWS
    found = CliRunner().invoke(app, ["windows", "--rounds", "2", "--json"], catch_exceptions=False)
    rows = json.loads(found.output)["figures"]
    assert [one["name"] for one in rows] == ROWS
    assert rows[0]["values"]["p50_ms"] > 0
    assert rows[1]["unsupported"]
    assert list(home.iterdir()) == []
