"""The main job, as a person sees it: three agents, no key, no network."""

import json
import subprocess
import sys

from sashizu_cli.document import ReportDocument

AGENTS = "code-reviewer,sec-audit,test-gen"


def test_three_agents_work_offline_and_everything_is_recorded(place):
    done = place.sashizu(
        "delegate-parallel", AGENTS, "--scope", ".", "--budget", "500k", "-o", "report.json"
    )

    document = ReportDocument.model_validate_json(
        (place.project / "report.json").read_text(), strict=True
    )
    rows = json.loads(
        place.sashizu(
            "audit",
            "sql",
            "select agent_name, count(*) as calls from tool_calls group by 1 order by 1",
            "--format",
            "json",
        ).stdout
    )
    assert done.returncode == 0, done.stderr
    assert [result.agent for result in document.results] == AGENTS.split(",")
    assert document.success_count == document.total_count == 3
    assert "3 of 3 agents succeeded" in done.stdout
    assert "src/pay/amounts.py:" in done.stdout  # findings name file and line
    for result in document.results:
        assert result.criteria
        for artifact in result.artifacts:
            assert (place.project / artifact.path).stat().st_size == artifact.bytes
    assert {row["agent_name"] for row in rows} == set(AGENTS.split(","))


def test_what_was_said_and_what_was_recorded_agree(place):
    done = place.sashizu("delegate", "code-reviewer", "--scope", "src", "--json")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    recorded = json.loads(
        place.sashizu("audit", "sql", "select kind from events", "--format", "json").stdout
    )
    ours = [event["kind"] for event in events]
    kept = [row["kind"] for row in recorded if not row["kind"].startswith(("writer.", "audit."))]
    assert done.returncode == 0, done.stderr
    assert sorted(ours) == sorted(kept)


def test_the_doctor_finds_nothing_wrong(place):
    done = place.sashizu("doctor")

    assert done.returncode == 0, done.stdout
    assert "problem" not in done.stdout


def test_init_makes_a_project_in_which_its_agent_works(place):
    begun = place.sashizu("init")
    checked = place.sashizu("agent", "check")
    done = place.sashizu("delegate", "docs-checker", "--scope", "README.md")

    assert (begun.returncode, checked.returncode) == (0, 0), checked.stderr
    assert done.returncode == 0, done.stderr


def test_an_offline_run_imports_no_service_no_database_and_no_display(place):
    code = (
        "import sys\nfrom sashizu_cli.main import main\n"
        "code = main(['delegate', 'code-reviewer', '--scope', 'src'])\n"
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.project,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    exit_code, *modules = done.stderr.splitlines()[-1].split()
    assert exit_code == "0", done.stderr
    assert not {"openai", "aiohttp", "httpx2", "duckdb", "mcp", "rich", "jsonschema"} & set(modules)
