"""What one version of DuckDB has sealed, the other reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.network

PROGRAM = """
import json, sys
from pathlib import Path
import duckdb
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.sealing import seal_record
from sashizu_core.events import Event

folder, name = Path(sys.argv[1]), sys.argv[2]
if name:
    with AuditWriter(folder) as writer:
        for number in range(50):
            attrs = {"n": number, "deep": {"er": [number, "ひ", None, 1.5]}}
            fields = {"tool": name, "step": number, "attrs": attrs, "blobs": ["a" * 64]}
            writer.write([Event("tool.requested", fields)])
    assert seal_record(folder).segments
rows = AuditStore(folder).query(
    "SELECT tool, step, attrs->>'n', attrs->'deep'->>'er', blobs, CAST(ts_ns AS VARCHAR)"
    " FROM events WHERE kind = 'tool.requested' ORDER BY ALL"
).rows
told = [duckdb.__version__, verify_record(folder).exit_code, rows]
print(json.dumps(told))
"""


def python_with(folder: Path, *packages: str) -> str:
    """An interpreter with our two packages, as they are here, and with these."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    env = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    python = str(folder / "bin" / "python")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], env=env, check=True)
    members = [str(ROOT / "packages" / name) for name in ("core", "audit")]
    words = [uv, "pip", "install", "-q", "--python", python, *members, *packages]
    subprocess.run(words, env=env, check=True)
    return python


def told(python: str, folder: Path, name: str = "") -> tuple[str, int, object]:
    words = [python, "-c", PROGRAM, str(folder), name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version, verdict, rows = json.loads(done.stdout)
    return version, verdict, rows


def test_what_either_version_of_duckdb_seals_the_other_reads(tmp_path: Path) -> None:
    older = python_with(tmp_path / "older", "duckdb>=1.5,<1.6")
    folder = tmp_path / "audit"
    new = told(sys.executable, folder, "of the new")
    old = told(older, folder)
    assert new[0].startswith("2.")
    assert old[0].startswith("1.5.")
    assert new[1:] == old[1:]
    by_old = told(older, folder, "of the old")
    by_new = told(sys.executable, folder)
    assert by_old[1:] == by_new[1:]
    assert by_new[1] == 0
    assert len(by_new[2]) == 100
