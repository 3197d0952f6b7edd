"""A world of agents with scripted models, over the real ledger and the real record."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_audit import plugin as audit
from sashizu_audit.store import AuditStore
from sashizu_budget.ledger import Ledger
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.events import Event
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget
from sashizu_core.repeating import Replay, WentOn, fork, replay, resume
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec, ToolSpec
from sashizu_core.supervisor import Supervision, supervise
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, scripted_model
from sashizu_core.types import ModelInfo, ModelRequest, RunReport, Task


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("TRACEPARENT", raising=False)


def _copied_if_there(source: str, to: str) -> None:
    """Copy a file; those that are being written have a name for a moment only."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, to)


class World:
    """Agents with a scripted model each, over core's tools, the real ledger and the real record.

    `offered` is what the registry has besides.
    """

    def __init__(self, place: Path, record: Path) -> None:
        self.place = place
        self.record = record
        self.left = record.with_name("left")
        self.content = "blobs"
        self.models: dict[str, ScriptedModel] = {}
        self.agents: list[AgentDefinition] = []
        self.settings: dict[str, Any] = {}
        self.offered: dict[str, Any] = {}
        self.tools: dict[str, ToolSpec] = {
            spec.name: spec for spec in builtin.register_tools(Settings())
        }

    def agent(
        self, name: str, script: Script, *, latency_s: float = 0.0, **more: Any
    ) -> ScriptedModel:
        info = ModelInfo(
            f"fake/{name}", "fake", local=True, min_output_tokens=16, max_output_tokens=500
        )
        model = self.models[info.name] = ScriptedModel(script, info=info, latency_s=latency_s)
        fields = {"name": name, "goal": f"{name} things", "model": info.name, **more}
        self.agents.append(AgentDefinition.model_validate(fields))
        return model

    def options(self) -> dict[str, Any]:
        @asynccontextmanager
        async def open_() -> AsyncIterator[Budget]:
            yield Ledger()

        table = {"dir": str(self.record), "content": self.content}
        settings = Settings({**self.settings, "audit": table})
        registry = Registry(
            models={name: scripted_model(model) for name, model in self.models.items()},
            tools=self.tools,
            sinks={spec.name: spec for spec in audit.register_sinks(settings)},
            budget=BudgetSpec("ledger", "the ledger", open_),
            **self.offered,
        )
        return {"settings": settings, "registry": registry}

    async def run(self, *names: str | Task, **options: Any) -> RunReport:
        with anyio.fail_after(30):
            return await delegate_parallel(
                [Task(name) if isinstance(name, str) else name for name in names],
                workspace=self.place,
                agents=self.agents,
                **self.options(),
                **options,
            )

    async def supervise(self, goal: str, **options: Any) -> Supervision:
        with anyio.fail_after(30):
            return await supervise(
                goal,
                workspace=self.place,
                definitions=self.agents,
                **self.options(),
                **options,
            )

    async def replay(self, run_id: str) -> Replay:
        """Replay with models that know no answer, agents that are gone, and files that are."""
        asked = sum(len(model.requests) for model in self.models.values())
        agents, self.agents = self.agents, []
        with anyio.fail_after(30):
            found = await replay(run_id, **self.options())
        self.agents = agents
        assert sum(len(model.requests) for model in self.models.values()) == asked
        return found

    def then_cut_off(self, answer: Callable[[ModelRequest], Any]) -> Callable[[ModelRequest], Any]:
        """The same script; the record as it is when it is asked first is what a crash leaves."""

        def asked(request: ModelRequest) -> Any:
            self.cut_off()
            return answer(request)

        return asked

    def cut_off(self) -> None:
        """Keep the record as it is now, as a crash at this moment would leave it; once.

        Others write to it meanwhile: lines come first, since what they name is there before them.
        """
        if not self.left.exists():
            shutil.copytree(self.record / "hot", self.left / "hot")
            shutil.copytree(
                self.record, self.left, copy_function=_copied_if_there, dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("hot"),
            )  # fmt: skip

    async def resume(self, run_id: str, *, crashed: bool = True, **options: Any) -> WentOn:
        """Go on from what a crash left; definitions are those of the record."""
        if crashed:
            self.record = self.left
        agents, self.agents = self.agents, []
        with anyio.fail_after(30):
            found = await resume(run_id, **self.options(), **options)
        self.agents = agents
        return found

    async def fork(self, run_id: str, **options: Any) -> WentOn:
        """Go on from a step of a run; definitions are those of the record."""
        agents, self.agents = self.agents, []
        with anyio.fail_after(30):
            found = await fork(run_id, **self.options(), **options)
        self.agents = agents
        return found

    def query(self, sql: str) -> list[dict[str, Any]]:
        return AuditStore(self.record).query(sql).dicts()


class CutsAtTheEnd(MemorySink):
    """Has the record of a world cut off before the end of the run is written."""

    def __init__(self, world: World) -> None:
        super().__init__(persistent=False)
        self._world = world

    def write(self, events: Sequence[Event]) -> None:
        if any(event.kind == "run.ended" for event in events):
            self._world.cut_off()


@pytest.fixture
def cuts_at_the_end(world: World) -> CutsAtTheEnd:
    return CutsAtTheEnd(world)


@pytest.fixture
def world(tmp_path: Path) -> World:
    place = tmp_path / "work"
    place.mkdir()
    (place / "a.txt").write_text("alpha\n", "utf-8")
    return World(place, tmp_path / "record")
