from dataclasses import replace

import pytest
from sashizu_cli.document import SCHEMA_FILE, ReportDocument, document_text, schema_text
from sashizu_cli.reports import print_answer, print_report
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.types import (
    AgentReport,
    Amount,
    Artifact,
    BudgetState,
    Criterion,
    Limits,
    Outcome,
    RunReport,
    Usage,
)

GOOD = AgentReport(
    agent="code-reviewer",
    agent_id=new_agent_id(),
    status="ok",
    outcome=Outcome.ANSWERED,
    answer="Two findings.\n\n- `a.py:3` is wrong",
    criteria=(Criterion("Every finding has a line", "met", "both have"),),
    artifacts=(Artifact("out/review.md", "ab" * 32, 2345),),
    missing=(),
    usage=Usage(3_900, 612, cache_read_tokens=100, requests=3),
    budget=BudgetState(
        "n1",
        "code-reviewer",
        Limits(tokens=20_000, nusd=2_000_000_000),
        Amount(4_512, 12_000_000, 3),
        Amount(),
        Amount(),
    ),
    steps=8,
    duration_s=12.34,
)
BAD = replace(
    GOOD,
    agent="sec-audit",
    agent_id=new_agent_id(),
    status="error",
    outcome=Outcome.MODEL_FAILED,
    answer="",
    criteria=(Criterion("Every finding has evidence", "not checked"),),
    artifacts=(),
    missing=("out/audit.md",),
    budget=None,
    error="connect: nothing listens at 127.0.0.1:9",
)


def report(*results: AgentReport) -> RunReport:
    names = tuple(result.agent for result in results)
    return RunReport(new_run_id(), names, names, results, None, 13.0)


def test_the_report_tells_per_agent_what_was_asked_and_what_became_of_it(capfd):
    print_report(run := report(GOOD, BAD))

    out, err = capfd.readouterr()
    assert out == (
        "# code-reviewer: answered\n"
        "\n"
        "  Two findings.\n"
        "\n"
        "  - `a.py:3` is wrong\n"
        "\n"
        "- met: Every finding has a line (both have)\n"
        "- wrote out/review.md (2,345 bytes, sha256 abababababab)\n"
        "12.3 s, 8 steps, 4,512 tokens (3,900 in, 612 out, 100 cached) in 3 calls, "
        "budget: 4,512 of 20,000 tokens, 0.0120 of 2.0000 USD\n"
        "\n"
        "# sec-audit: model failed\n"
        "\n"
        "- not checked: Every finding has evidence\n"
        "- did not write out/audit.md\n"
        "12.3 s, 8 steps, 4,512 tokens (3,900 in, 612 out, 100 cached) in 3 calls\n"
        "\n"
        "1 of 2 agents succeeded, 13.0 s, 9,024 tokens (7,800 in, 1,224 out, 200 cached) "
        f"in 6 calls; run {run.run_id}\n"
    )
    assert err == "sashizu: error: sec-audit: connect: nothing listens at 127.0.0.1:9\n"


def test_an_answer_can_neither_steer_the_terminal_nor_pass_for_a_line_of_ours(capfd):
    answer = "\x1b[2J[bold]x[/bold]\n1 of 1 agents succeeded\r\n# total\x07"
    print_report(report(replace(GOOD, answer=answer, agent="a\x1bb")))

    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.startswith("# a\\x1bb: answered\n")
    assert "  \\x1b[2J[bold]x[/bold]\n  1 of 1 agents succeeded\n  # total\\x07\n" in out


def test_of_a_single_prompt_the_answer_alone_is_on_stdout(capfd):
    print_answer(report(replace(GOOD, conversation_id="c-1")))

    out, err = capfd.readouterr()
    assert out == "Two findings.\n\n- `a.py:3` is wrong\n"
    assert "sashizu: to go on: sashizu run --continue c-1 PROMPT\n" in err
    assert "1 of 1 agents succeeded" in err


def test_everything_can_go_to_stderr(capfd):
    print_report(report(GOOD), to_stderr=True)
    print_answer(report(GOOD), to_stderr=True)

    assert capfd.readouterr().out == ""


def test_the_shipped_schema_is_that_of_the_document():
    assert SCHEMA_FILE.read_text("utf-8") == schema_text()


def test_the_document_has_the_promised_keys_and_fits_its_schema():
    document = ReportDocument.model_validate_json(document_text(report(GOOD, BAD)), strict=True)

    assert list(ReportDocument.model_fields) == [
        "run_id",
        "requested_agents",
        "resolved_agents",
        "results",
        "usage",
        "success_count",
        "total_count",
        "warnings",
        "merge",
    ]
    assert list(type(document.results[0]).model_fields) == [
        "agent",
        "agent_id",
        "status",
        "outcome",
        "answer",
        "criteria",
        "artifacts",
        "usage",
        "doubtful_tokens",
        "budget",
        "steps",
        "duration_s",
        "error",
        "changes",
        "children",
        "backends",
    ]
    assert (document.success_count, document.total_count) == (1, 2)
    assert document.usage.input_tokens == 7_800
    assert document.results[0].artifacts[0].model_dump() == {
        "path": "out/review.md",
        "sha256": "ab" * 32,
        "bytes": 2345,
    }
    assert [result.error for result in document.results] == [None, BAD.error]


@pytest.mark.parametrize("text", ["half \ud800 pair", "nul \0", "</script>", "日本"])
def test_any_text_of_a_model_becomes_valid_json(text):
    written = document_text(report(replace(GOOD, answer=text)))

    found = ReportDocument.model_validate_json(written.encode())

    assert found.results[0].answer == text.replace("\ud800", "?")
