"""The base on Windows: a real Windows Python under Wine runs the tests of its packages."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from sashizu_audit.verify import verify_record
from windows_suites import ROOT, SUITES, missing, windows, wine

pytestmark = pytest.mark.wine

VERIFIER = ROOT / "docs/programs/verify_record.py"
BAD = 'import os\n\n\ndef shown(name):\n    return os.system("cat " + name)\n'
ADDS = '''

def add(a: int, b: int) -> int:
    """The sum.

    >>> add(1, 2)
    3
    """
    return a + b
'''


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if lack := missing():
        pytest.skip(lack)
    with windows(tmp_path_factory.mktemp("windows")) as up:
        yield up


@pytest.fixture(scope="module")
def place(machine, tmp_path_factory):
    """A folder to work in, and the state folder beside it, as Windows names it."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "work/src").mkdir(parents=True)
    (folder / "work/src/bad.py").write_text(BAD + ADDS, "utf-8", newline="\r\n")
    return folder


@pytest.fixture(scope="module")
def sashizu(machine, place):
    """Runs the command there: its exit code, and all it wrote."""

    def run(*words):
        return machine.sashizu(
            *words, cwd=place / "work", SASHIZU_HOME=wine.spelled(place / "home"), NO_COLOR="1"
        )

    return run


@pytest.fixture(scope="module")
def job(sashizu):
    agents = "code-reviewer,sec-audit,test-gen"
    return sashizu("delegate-parallel", agents, "--scope", ".", "--budget", "200000")


def test_the_main_job_runs_to_its_end_within_its_budget(job, place):
    code, said = job
    assert code == 0, said
    assert "3 of 3 agents succeeded" in said
    spent, limit = re.findall(r"budget: ([\d,]+) of ([\d,]+) tokens; run", said)[0]
    assert limit == "200,000"
    assert 0 < int(spent.replace(",", "")) < 200_000
    assert "`src/bad.py:5` os.system" in said
    reports = list((place / "work/.sashizu/runs").glob("*/*/*.md"))
    assert len(reports) == 3
    assert not [path for path in reports if b"\r" in path.read_bytes()]


def test_its_record_is_accepted_there_and_by_both_verifiers_here(job, sashizu, place):
    code, said = sashizu("audit", "verify")
    assert (code, said.splitlines()[-1]) == (0, "intact"), said
    code, said = sashizu(
        "audit", "sql", "select sum(tokens) as n from token_usage", "--format", "csv"
    )
    assert code == 0, said
    assert f"budget: {int(said.split()[-1]):,} of" in job[1]
    record = place / "home/audit"
    assert verify_record(record).exit_code == 0
    words = [sys.executable, str(VERIFIER), str(record)]
    alone = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert b"\r" not in b"".join(path.read_bytes() for path in record.glob("hot/*.jsonl"))


def test_a_byte_that_was_changed_there_is_found_here(job, place, tmp_path):
    segment = min((place / "home/audit/hot").glob("*.jsonl"))
    lines = segment.read_bytes()
    changed = tmp_path / segment.name
    (tmp_path / "hot").mkdir()
    changed = tmp_path / "hot" / segment.name
    changed.write_bytes(lines.replace(b"sec-audit", b"sec-audiT", 1))
    os.link(place / "home/audit/store.json", tmp_path / "store.json")
    assert verify_record(tmp_path).exit_code == 1


def test_a_budget_that_nothing_fits_in_stops_the_run(sashizu):
    code, said = sashizu("delegate-parallel", "sec-audit", "--scope", ".", "--budget", "10")
    assert code != 0
    assert "budget" in said
    assert "1 of 1 agents succeeded" not in said


def test_the_doctor_says_what_windows_lacks_and_that_no_sandbox_holds(sashizu):
    code, said = sashizu("doctor", "--json")
    found = {row["about"]: row for row in json.loads(said)}
    assert code == 1  # no sandbox holds a program
    assert "as Wine" in found["platform"]["text"]
    assert found["sandbox windows-job"]["state"] == "problem"
    assert "no program is started" in found["sandbox windows-job"]["text"]
    assert {found[name]["state"] for name in ("openat2", "file modes", "run sockets")} == {"absent"}
    good = ("python", "plugin audit", "plugin budget", "plugin offline", "state folder", "agents")
    assert {found[name]["state"] for name in good} == {"ok"}


def test_help_mistakes_and_what_is_not_there_end_as_elsewhere(sashizu, job):
    code, said = sashizu("--help")
    assert (code, said.splitlines()[0]) == (0, "Usage: sashizu [OPTIONS] COMMAND [ARGS]...")
    code, said = sashizu("delegate", "no-such-agent", "--goal", "x")
    assert code == 2, said
    assert "no-such-agent" in said
    code, said = sashizu("runs", "list", "--json")
    assert code == 0, said
    assert {run["status"] for run in json.loads(said)} <= {"ok", "error"}
    assert len(json.loads(said)) >= 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_of_mcp_uses_a_server_on_windows(machine, place, mode):
    words, env = machine.sashizu_on_pipes(
        "mcp-server", "--no-audit", SASHIZU_HOME=wine.spelled(place / "served")
    )
    parameters = StdioServerParameters(
        command=words[0], args=words[1:], env=env, cwd=str(place / "work")
    )
    with anyio.fail_after(120):
        async with Client(stdio_client(parameters), mode=mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            read = await client.call_tool("read_file", {"path": "src/bad.py"})
            asked = {"agent": "sec-audit", "goal": "Look for what is dangerous."}
            done = await client.call_tool("delegate", asked)
    assert {"delegate", "read_file"} <= names
    assert "os.system" in read.structured_content["text"]
    assert done.structured_content["results"][0]["status"] == "ok"


@pytest.mark.timeout(1800)  # each package has its own limit
def test_the_packages_pass_their_tests_on_windows(machine, capsys):
    with ThreadPoolExecutor(2) as pool:  # this waits for Wine most of the time
        outcomes = list(pool.map(lambda suite: machine.tests(suite, whole=False), SUITES))
    with capsys.disabled():
        print("", *outcomes, sep="\n")
    for suite, outcome in zip(SUITES, outcomes, strict=True):
        assert outcome.status == 0, outcome.text
        assert outcome.counts["passed"] >= suite.floor, outcome.text
