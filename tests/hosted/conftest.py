"""A workspace, a home and a plugin that processes of these tests load, as they would any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core.agents import AgentDefinition
from warm_programs import Warm

HERE = Path(__file__).parent


@dataclass
class Place:
    """Where a test works. `work` is the workspace, `home` the folder of state."""

    work: Path
    home: Path
    warm: Warm

    def asked(self, sql: str) -> list[tuple[Any, ...]]:
        """What the record answers."""
        from sashizu_audit.store import AuditStore

        return list(AuditStore(self.home / "audit").query(sql).rows)

    def verified(self) -> str:
        """What `audit verify` says, first line last."""
        found = self.sashizu("audit", "verify")
        assert found.returncode in (0, 1), found.stderr
        return found.stdout

    def sashizu(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in the workspace, with more variables."""
        return self.warm.run(
            [str(Path(sys.executable).with_name("sashizu")), *words],
            cwd=self.work,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def talk(self, words: Sequence[str], env: Mapping[str, str], *frames: Any) -> list[Any]:
        """What a server answers to these requests, in order."""
        first = {
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        }
        command = [str(Path(sys.executable).with_name("sashizu")), "mcp-server", *words]
        answers: list[Any] = []
        with self.warm.start(
            command,
            cwd=self.work,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for number, frame in enumerate((first, *frames)):
                process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, **frame}) + "\n")
                process.stdin.flush()
                while (told := json.loads(process.stdout.readline())).get("id") != number:
                    pass
                answers.append(told)
            process.stdin.close()
            process.wait(30)
        return answers[1:]

    def settings(self, text: str) -> None:
        """The user's own settings, for every process to find."""
        folder = Path(os.environ["XDG_CONFIG_HOME"], "sashizu")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sashizu.toml").write_text(text, "utf-8")

    def agent(self, name: str, model: str, **more: Any) -> AgentDefinition:
        """An agent in the user's own folder, for every process to find."""
        import yaml

        fields: Mapping[str, Any] = {"name": name, "goal": f"{name} things", "model": model, **more}
        folder = Path(os.environ["XDG_CONFIG_HOME"], "sashizu/agents")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(fields)), "utf-8")
        return AgentDefinition.model_validate(fields)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: Warm) -> Place:
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
    monkeypatch.setattr(anyio, "open_process", warm.open_process)
    for name in ("SASHIZU_LEASE", "TRACEPARENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work/a.txt").write_text("alpha\n", "utf-8")
    return Place(tmp_path / "work", tmp_path / "home", warm)
