"""What hooks cannot do, whatever their commands say: held by the best sandbox of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.types import RunReport, Task
from sashizu_sandbox import plugin as sandbox

SANDBOXES = {spec.name: spec for spec in sandbox.register_sandboxes(Settings())}
HOLDS = any(spec.probe().kind == "enforced" for spec in SANDBOXES.values() if spec.name != "none")

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(not HOLDS, reason="nothing here holds programs"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-hooks")
    folder = tmp_path / "work"
    (folder / "src").mkdir(parents=True)
    (folder / "src/a.txt").write_text("alpha\n")
    (folder / "other").mkdir()
    (folder / "other/b.txt").write_text("beta\n")
    return folder


async def run(place: Path, hooks: Mapping[str, Any]) -> tuple[RunReport, ScriptedModel, MemorySink]:
    model, sink = ScriptedModel([[call("read_file", path="src/a.txt")], "done"]), MemorySink()
    tools = {"mcp": ["read_file", "write_file"], "fs": {"read": ["src"], "write": ["src"]}}
    agent = {"name": "worker", "goal": "work", "model": model.info.name, "tools": tools}
    with anyio.fail_after(60):
        report = await delegate_parallel(
            [Task("worker", "work")],
            workspace=place,
            agents=[AgentDefinition.model_validate(agent)],
            settings=Settings({"hooks": hooks}),
            registry=Registry(
                models={model.info.name: scripted_model(model)},
                tools={spec.name: spec for spec in builtin.register_tools(Settings())},
                sandboxes=SANDBOXES,
            ),
            sinks=[sink],
            audit=False,
        )
    return report, model, sink


def on(event: str, command: str, **more: Any) -> dict[str, Any]:
    return {event: [{"hooks": [{"type": "command", "command": command, **more}]}]}


def said(model: ScriptedModel) -> str:
    return model.requests[-1].messages[-1].content


async def test_a_hook_reads_what_its_agent_may_and_nothing_else(place: Path) -> None:
    command = "cat src/a.txt >&2; cat other/b.txt >&2; env >&2; exit 2"
    _, model, _ = await run(place, on("PreToolUse", command))
    assert "alpha" in said(model)
    assert "beta" not in said(model)
    assert "sk-not-for-hooks" not in said(model)
    assert f"CLAUDE_PROJECT_DIR={place}" in said(model)


async def test_a_hook_writes_only_where_the_operator_lets_it(place: Path) -> None:
    command = "echo x > src/made; echo x > other/made; echo x > made; true"
    report, _, _ = await run(place, on("Stop", command))
    assert report.success_count == 1
    assert not list(place.rglob("made"))
    await run(place, on("Stop", command) | {"write": True})
    assert list(place.rglob("made")) == [place / "src/made"]


async def test_a_hook_reaches_no_network(place: Path) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        command = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reach$((40+2)) >&2"
        bash = f"bash -c '{command}'"
        _, model, _ = await run(place, on("PreToolUse", f"{bash}; exit 2"))
        assert "not allowed" in said(model)
        assert "reach42" not in said(model)


async def test_a_hook_that_takes_too_long_is_ended_with_all_that_it_started(place: Path) -> None:
    mark = f"sleep 4{time.time_ns() % 10**6}"
    command = f"({mark} &) ; {mark}"
    _, model, sink = await run(place, on("PreToolUse", command, timeout=1))
    assert "took longer than 1 s" in said(model)
    running = [
        path.read_bytes().replace(b"\0", b" ").strip()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    assert mark.encode() not in running
    (ended,) = [each for each in sink.of("tool.ended") if each.get("op") == "run_hook"]
    assert ended["status"] == "error"


async def test_endless_output_is_cut_and_ended(place: Path) -> None:
    report, model, _ = await run(place, on("PreToolUse", "yes", timeout=1))
    assert "took longer" in said(model)
    assert report.success_count == 1


async def test_a_hook_that_reads_nothing_of_what_it_is_told_answers_all_the_same(
    place: Path,
) -> None:
    answer = json.dumps({"decision": "block", "reason": "not now"})
    _, model, _ = await run(place, on("PreToolUse", f"exec 0<&-; echo '{answer}'"))
    assert "not now" in said(model)
