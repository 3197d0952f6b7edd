"""A run whose model is served by a process that the run itself starts and places."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from warm_programs import Warm

SCRIPT = Path(sys.executable).with_name("sashizu")
SERVER = Path(__file__).parents[1] / "packages/gpu-driver/tests/serving/model_server.py"
GIB = 1 << 30


class Place:
    """A workspace, a home with settings, and a card of 24 GiB that a file tells of."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        self.warm = warm
        self.log = folder / "starts.log"
        (folder / "work").mkdir()
        (folder / "work" / "a.py").write_text("print('hello')\n")
        self.free(24 * GIB)
        self.config = folder / "config" / "sashizu"
        (self.config / "agents").mkdir(parents=True)
        (self.config / "agents" / "looker.yaml").write_text(
            "name: looker\ngoal: Look at it.\nmodel: tiny\ntools:\n  fs: {read: true}\n"
        )

    def free(self, free: int) -> None:
        memory = {"memory_total_bytes": 24 * GIB, "memory_free_bytes": free}
        card = {"id": "GPU-1", "vendor": "nvidia", "readings": memory, "processes": None}
        (self.folder / "card.json").write_text(json.dumps({"devices": [card]}))

    def settings(self, size: str, more: str = "") -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        start = json.dumps([sys.executable, str(SERVER), str(port), str(self.log)])
        (self.config / "sashizu.toml").write_text(
            f"[devices]\nbackends = ['fake']\n[gpu]\nfake = '{self.folder / 'card.json'}'\n"
            f"[models.tiny]\nbase_url = 'http://127.0.0.1:{port}/v1'\nmodel = 'tiny'\n"
            f"local = {{ vram = '{size}', start = {start}, slots = 2 }}\n{more}"
        )

    def sashizu(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.warm.run(
            [str(SCRIPT), *words],
            cwd=self.folder / "work",
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
                "SASHIZU_HOME": str(self.folder / "state"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def place(tmp_path: Path, warm: Warm) -> Place:
    return Place(tmp_path, warm)


def test_agents_wait_for_their_model_and_the_decision_is_on_record(place):
    place.settings("6GiB")

    found = place.sashizu("delegate-parallel", "looker,looker", "--goal", "look")

    assert found.returncode == 0, found.stderr
    assert found.stdout.count("I have looked at it.") >= 1
    starts = [json.loads(line) for line in place.log.read_text().splitlines()]
    assert {start["cuda"] for start in starts} == {"GPU-1"}
    sql = "select attrs from events where kind = 'admission.decided' order by ts_ns"
    asked = place.sashizu("audit", "sql", "--format", "json", sql)
    decisions = [json.loads(row["attrs"]) for row in json.loads(asked.stdout)]
    assert decisions[0]["outcome"] == "placed"
    assert decisions[0]["devices"][0]["total"] == 24 * GIB
    assert place.sashizu("audit", "verify").returncode == 0


def test_a_model_that_fits_nowhere_ends_the_agent_with_the_sizes(place):
    place.settings("40GiB")

    found = place.sashizu("delegate", "looker", "--goal", "look")

    assert found.returncode != 0
    assert "no device ever has more than" in found.stdout + found.stderr
    assert not place.log.exists()


def test_an_agent_that_waits_too_long_for_its_model_goes_on_with_its_fallback(place):
    place.free(2 * GIB)  # others have the rest, and may give it back
    place.settings("6GiB")
    settings = place.config / "sashizu.toml"
    settings.write_text(
        settings.read_text().replace("slots = 2", "slots = 2, spill_after = '0.3s'")
    )
    agent = place.config / "agents" / "looker.yaml"
    agent.write_text(agent.read_text() + "fallback: offline\n")

    found = place.sashizu("delegate", "looker", "--goal", "look")

    assert found.returncode == 0, found.stderr
    assert not place.log.exists()
    sql = """select kind, coalesce(attrs ->> 'outcome', attrs ->> 'how') as what from events
             where kind in ('admission.decided', 'budget.degraded') order by ts_ns"""
    asked = place.sashizu("audit", "sql", "--format", "json", sql)
    told = [row["what"] for row in json.loads(asked.stdout)]
    assert told[0] == "queued"
    assert told[-2:] == ["spilled", "fallback"]


def test_a_server_that_is_started_here_has_to_answer_here(place):
    place.settings("6GiB")
    file = place.config / "sashizu.toml"
    file.write_text(file.read_text().replace("http://127.0.0.1:", "http://models.example:"))

    found = place.sashizu("delegate", "looker", "--goal", "look")

    assert found.returncode == 2
    assert "http://127.0.0.1:PORT" in found.stderr
