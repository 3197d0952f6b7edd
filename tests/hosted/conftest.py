"""A workspace, a home and a plugin that processes of these tests load, as they would any other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.agents import AgentDefinition

HERE = Path(__file__).parent


@dataclass
class Place:
    """Where a test works. `work` is the workspace, `home` the folder of state."""

    work: Path
    home: Path

    def asked(self, sql: str) -> list[tuple[Any, ...]]:
        """What the record answers."""
        from sashizu_audit.asking import asked

        return list(asked(self.home / "audit", sql, limit=10_000, timeout_s=30).rows)

    def verified(self) -> str:
        """What `audit verify` says, first line last."""
        found = self.sashizu("audit", "verify")
        assert found.returncode in (0, 1), found.stderr
        return found.stdout

    def sashizu(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in the workspace, with more variables."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("sashizu")), *words],
            cwd=self.work,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def agent(self, name: str, model: str, **more: Any) -> AgentDefinition:
        """An agent in the user's own folder, for every process to find."""
        import yaml

        fields: Mapping[str, Any] = {"name": name, "goal": f"{name} things", "model": model, **more}
        folder = Path(os.environ["XDG_CONFIG_HOME"], "sashizu/agents")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(fields)), "utf-8")
        return AgentDefinition.model_validate(fields)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    plugin = tmp_path / "plugin/tree_models-1.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: tree-models\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[sashizu]\ntree-models = tree_models\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "plugin"), str(HERE))))
    monkeypatch.syspath_prepend(str(tmp_path / "plugin"))
    monkeypatch.syspath_prepend(str(HERE))
    for name in ("home", "config", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SASHIZU_LEASE", "TRACEPARENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work/a.txt").write_text("alpha\n", "utf-8")
    return Place(tmp_path / "work", tmp_path / "home")
