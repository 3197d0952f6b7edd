"""A goal for several agents, as a person sees it: no key, no network."""

import json

GOAL = "Review src and audit it for security, then write tests for it"


def asked(place, sql):
    done = place.sashizu("audit", "sql", sql, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_goal_is_planned_carried_out_and_recorded_as_one_run(place):
    done = place.sashizu("supervisor", GOAL, "--budget", "2000k", "-o", "report.json")

    assert done.returncode == 0, done.stderr
    assert "made by offline, which is rules and no language model" in done.stdout
    assert "- s3: test-gen, after s1, s2: write tests for it" in done.stdout
    assert "src/pay/amounts.py:" in done.stdout
    found = json.loads((place.project / "report.json").read_text())
    assert found["ok"]
    assert found["plan"]["by_rules"]
    assert [step["state"] for step in found["steps"]] == ["done"] * 3
    assert found["merged"]["note"] == "3 of 3 answers"
    begun = asked(place, "select agent_name from events where kind = 'agent.started' order by seq")
    names = [row["agent_name"] for row in begun]
    assert names[0] == "sashizu-planner"
    assert set(names[1:3]) == {"code-reviewer", "sec-audit"}
    assert names[3] == "test-gen"
    runs = asked(place, "select count(distinct run_id) as n from events where run_id is not null")
    assert runs[0]["n"] == 1


def test_a_plan_is_shown_and_nothing_else_is_run(place):
    done = place.sashizu("supervisor", GOAL, "--plan")

    assert done.returncode == 0, done.stderr
    assert "- s1: code-reviewer: Review src" in done.stdout
    begun = asked(place, "select agent_name from events where kind = 'agent.started'")
    assert [row["agent_name"] for row in begun] == ["sashizu-planner"]


def test_json_is_all_that_stdout_gets(place):
    done = place.sashizu(
        "supervisor",
        "Is there an eval in src? Answer with path:line",
        "--agents",
        "code-reviewer,sec-audit",
        "--strategy",
        "parallel",
        "--merge",
        "voting",
        "--format",
        "json",
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["plan"]["made_by"] == "rule"
    assert len(found["merged"]["votes"]) == 2
    assert "no majority" in found["merged"]["note"]
    assert found["answer"] == found["steps"][0]["answer"]


def test_rules_cannot_judge_and_say_so_before_anything_is_run(place):
    done = place.sashizu(
        "supervisor", GOAL, "--agents", "general,researcher", "--strategy", "parallel",
        "--merge", "judge",
    )  # fmt: skip

    assert done.returncode == 2
    assert "'offline' is no language model" in done.stderr
    assert asked(place, "select 1 from events where kind = 'agent.started'") == []


def test_a_misspelt_word_is_refused_and_never_taken_for_the_default(place):
    for option, word, hint in (
        ("--strategy", "hybird", "hybrid"),
        ("--merge", "vote", "voting"),
        ("--format", "jsn", "json"),
    ):
        done = place.sashizu("supervisor", GOAL, option, word)
        assert done.returncode == 2
        assert f"did you mean '{hint}'?" in done.stderr


def test_an_agent_is_made_saved_trusted_and_run_like_any_other(place):
    prompt = "Review src for functions that hide errors"
    made = place.sashizu(
        "agent-create", prompt, "--save", "--run", "--yes", "--budget", "500k", "-o", "made.json"
    )

    assert made.returncode == 0, made.stderr
    found = json.loads((place.project / "made.json").read_text())
    path = place.project / found["saved"]
    assert path.read_text() == found["text"]
    assert "without a language model" in found["text"]
    assert found["run"]["success_count"] == 1
    spent = found["generation"]["results"][0]["usage"]
    assert spent["input_tokens"] > 0
    rows = asked(
        place,
        "select status, sha256 from events where kind = 'config.changed' order by ts_ns",
    )
    assert [row["status"] for row in rows] == ["made", "saved"]
    assert {row["sha256"] for row in rows} == {found["sha256"]}
    again = place.sashizu("delegate", found["name"], "--scope", "src")
    assert again.returncode == 0, again.stderr
    path.write_text(path.read_text() + "verify: [rm]\n")
    changed = place.sashizu("delegate", found["name"], "--scope", "src")
    assert changed.returncode == 2
    assert "changed since it was trusted" in changed.stderr


def test_an_agent_is_shown_and_nothing_is_written_unasked(place):
    before = sorted(path.name for path in (place.project / ".sashizu/agents").iterdir())
    shown = place.sashizu("agent-create", "Fix the docstrings in src")

    assert shown.returncode == 0, shown.stderr
    assert "+    - src" in shown.stdout
    assert "no language model was used; sha256 " in shown.stdout
    asked_for = place.sashizu("agent-create", "Fix the docstrings in src", "--save")
    assert asked_for.returncode == 2
    assert "say --yes" in asked_for.stderr
    assert sorted(path.name for path in (place.project / ".sashizu/agents").iterdir()) == before
