"""Devices of a run on record: measured at its beginning and its end, and never in its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns

import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.devices import Device, DeviceBackend, DeviceSpec, Known, Probe, Stats, Unknown
from sashizu_core.errors import ConfigError
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, scripted_model
from sashizu_core.types import RunReport, Task

pytestmark = pytest.mark.anyio


class Meter(DeviceBackend):
    """A device whose energy grows with every look."""

    name = "meter"

    def __init__(self, *, broken: bool = False) -> None:
        self.looks = 0
        self.closed = False
        self._broken = broken

    def probe(self) -> Probe:
        return Probe("ok")

    def devices(self) -> Sequence[Device]:
        return [Device("meter-0", "Meter", "nobody")]

    def stats(self, device: str) -> Stats:
        if self._broken:
            raise ZeroDivisionError
        self.looks += 1
        energy = Known(100 * self.looks, self.name, monotonic_ns())
        return Stats(device, {"energy_j": energy, "power_w": Unknown("not told")})


async def run(
    tmp_path: Path, meter: Meter, table: dict[str, object]
) -> tuple[RunReport, MemorySink]:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        yield meter
        meter.closed = True

    sink, model = MemorySink(), ScriptedModel(["done"])
    agent = {"name": "worker", "goal": "work", "model": model.info.name}
    report = await delegate_parallel(
        [Task("worker", "work")],
        workspace=tmp_path,
        agents=[AgentDefinition.model_validate(agent)],
        settings=Settings({"devices": table}),
        registry=Registry(
            models={model.info.name: scripted_model(model)},
            devices={"meter": DeviceSpec("meter", "a meter", open_)},
        ),
        sinks=[sink],
        audit=False,
    )
    return report, sink


async def test_a_run_has_its_devices_on_record_at_both_ends(tmp_path: Path) -> None:
    meter = Meter()
    report, sink = await run(tmp_path, meter, {"record": "1h"})
    assert report.success_count == 1
    samples = sink.of("device.sampled")
    assert len(samples) == meter.looks >= 2
    assert samples[0]["attrs"]["readings"] == {"energy_j": 100}
    assert samples[-1]["attrs"]["readings"] == {"energy_j": 100 * meter.looks}
    assert samples[-1]["attrs"]["sources"] == {"energy_j": "meter"}
    assert {sample["run_id"] for sample in samples} == {report.run_id}
    assert meter.closed


async def test_nothing_is_measured_unless_it_is_asked_for(tmp_path: Path) -> None:
    meter = Meter()
    _, sink = await run(tmp_path, meter, {})
    assert sink.of("device.sampled") == []
    assert meter.looks == 0


async def test_a_backend_that_breaks_does_not_break_the_run(tmp_path: Path) -> None:
    report, sink = await run(tmp_path, Meter(broken=True), {"record": "1h"})
    assert report.success_count == 1
    assert sink.of("device.sampled") == []


async def test_a_backend_that_nobody_offers_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no 'metre'; did you mean 'meter'"):
        await run(tmp_path, Meter(), {"record": "1h", "backends": ["metre"]})
