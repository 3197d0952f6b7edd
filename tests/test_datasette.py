"""A copy for SQLite, opened by Datasette from a package registry, and asked over HTTP."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from sashizu_audit import AuditWriter
from sashizu_audit.export import export_record
from sashizu_audit.spool import WriterOptions
from sashizu_audit.store import VIEWS
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

ROOT = Path(__file__).resolve().parent.parent
RUN, AGENT = uuid7(), uuid7()
pytestmark = pytest.mark.network


@pytest.fixture
def database(tmp_path: Path) -> Path:
    who = {"run_id": RUN, "agent_id": AGENT, "agent_name": "ひ<b>"}
    with AuditWriter(tmp_path / "audit", options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write([Event("run.started", {"run_id": RUN, "attrs": {"agents": ["ひ<b>"]}})])
        writer.write([Event("agent.started", {**who, "model": "m"})])
        writer.write([Event("model.requested", {**who, "step": 0, "model": "m"})])
        writer.write([Event("model.answered", {**who, "step": 0, "status": "ok", "tokens": 9})])
    export_record(tmp_path / "audit", tmp_path / "copy", "sqlite")
    return tmp_path / "copy" / "record.sqlite"


@pytest.fixture
def server(database: Path) -> Iterator[str]:
    """Datasette with the copy, in an environment of its own."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    env = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    words = [uv, "run", "-q", "--isolated", "--no-project", "--python", sys.executable]
    words += ["--with", "datasette", "datasette", "serve", "--port", "0", str(database)]
    with subprocess.Popen(
        words, cwd=database.parent, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if "running on " in line:
                    yield line.partition("running on ")[2].split()[0]
                    break
            else:
                pytest.fail(f"Datasette does not start: {''.join(said)}")
        finally:
            process.terminate()


def asked(server: str, path: str) -> object:
    with urlopen(f"{server}/record{path}", timeout=60) as answer:
        return json.load(answer)


def test_datasette_shows_every_table_and_answers_questions(server: str) -> None:
    found = asked(server, ".json")
    assert isinstance(found, dict)
    assert {table["name"]: table["count"] for table in found["tables"]}["model_calls"] == 1
    assert {table["name"] for table in found["tables"]} == set(VIEWS)
    sql = "select agent_name, sum(tokens) as tokens from token_usage group by 1"
    assert asked(server, f".json?_shape=array&sql={quote(sql)}") == [
        {"agent_name": "ひ<b>", "tokens": 9}
    ]
    with urlopen(f"{server}/record/agent_executions", timeout=60) as page:
        text = page.read().decode()
    assert RUN in text
    assert "ひ&lt;b&gt;" in text
