from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sashizu_cli.session import Session
from sashizu_core.plugins import Registry
from sashizu_core.settings import load_settings
from sashizu_core.specs import AgentSource
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, memory_sink, scripted_model

AGENT = """\
name: {name}
goal: Say what there is.
success_criteria: [It says something.]
"""


@dataclass
class World:
    """A workspace with agents `alpha` and `beta`, a scripted model and a sink in memory."""

    folder: Path
    sink: MemorySink = field(default_factory=MemorySink)

    def session(self, *script: object, latency_s: float = 0.0) -> Session:
        model = ScriptedModel(script, latency_s=latency_s)
        session = Session(overrides=["run.model=fake/scripted"])
        session.settings = load_settings(
            self.folder,
            overrides=session.overrides,
            env={},
            config=self.folder / "config",
            plugin_names=(),
        )
        session.registry = Registry(
            models={model.info.name: scripted_model(model)},
            sinks={"memory": memory_sink(self.sink)},
            agents={"test": AgentSource("test", "for tests", self.folder / "agents", "user")},
        )
        return session


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    work = tmp_path / "work"
    agents = work / "agents"
    agents.mkdir(parents=True)
    for name in ("alpha", "beta", "general"):
        (agents / f"{name}.yaml").write_text(AGENT.format(name=name))
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("TRACEPARENT", raising=False)
    monkeypatch.chdir(work)
    return World(work)


@pytest.fixture
def cli(world: World, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the real app in this process: exit code, stdout, stderr."""
    from sashizu_cli.main import main

    def call(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        found = capfd.readouterr()
        return code, found.out, found.err

    return call
