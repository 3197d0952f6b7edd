"""A definition gets what its maker may give; every wider wish is named as refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition
from sashizu_core.creation.clipping import clipped
from sashizu_core.grants import Grants, PathRequest, Rule, Subject
from sashizu_core.permissions import authorize
from sashizu_core.types import Limits

WISH: dict[str, Any] = {
    "name": "wishful",
    "goal": "Have it all",
    "tools": {
        "mcp": ["read_file", "codex_grep", "shell", "fetch"],
        "fs": {"read": ["."], "write": ["src", "docs"]},
        "net": {"allow": ["https://example.org/a", "https://other.example"]},
        "shell": {"exec": ["git", "python -m pytest"]},
    },
    "spawn": {"agents": ["*"], "depth": 2},
    "budget": {"tokens": 50_000, "usd": 3, "seconds": 60},
    "verify": ["python -m pytest"],
    "success_criteria": ["It works"],
}
CEILING = Grants(
    tools=frozenset({"read_file", "grep", "shell"}),
    fs_read=("src", "tests"),
    fs_write=("src/pay",),
    net=("https://example.org",),
    exec=("git log",),
    spawn=frozenset({"researcher"}),
    source="the operator's policy",
)


def wish(**more: Any) -> AgentDefinition:
    return AgentDefinition.model_validate({**WISH, **more})


def test_without_a_ceiling_nothing_is_refused() -> None:
    assert clipped(wish(), (), Limits()) == (wish(), ())


def test_what_is_wider_is_narrowed_and_every_refusal_is_named() -> None:
    found, refused = clipped(wish(), (CEILING,), Limits())
    assert found.tools.mcp == ("read_file", "codex_grep", "shell")
    assert found.tools.fs.read == ("src", "tests")
    assert found.tools.fs.write == ("src/pay",)
    assert found.tools.shell.exec == ("git log",)
    assert found.spawn.agents == ("researcher",)
    assert found.spawn.depth == 2
    assert found.success_criteria == ("It works",)
    told = {(each.what, each.wish): (each.got, each.why) for each in refused}
    by = "not allowed by the operator's policy"
    assert told["tools.mcp", "fetch"] == ("", by)
    assert told["tools.fs.read", "."] == ("src, tests", by)
    assert told["tools.fs.write", "src"] == ("src/pay", by)
    assert told["tools.fs.write", "docs"] == ("", by)
    assert told["tools.shell.exec", "git"] == ("git log", by)
    assert told["tools.shell.exec", "python -m pytest"] == ("", by)
    assert told["spawn.agents", "*"] == ("researcher", by)
    assert told["tools.net.allow", "https://other.example"] == ("", by)
    assert ("tools.net.allow", "https://example.org/a") not in told


def test_every_level_above_counts() -> None:
    narrower = Grants(tools=None, fs_read=("tests",), source="the one who asks")
    found, refused = clipped(wish(), (CEILING, narrower), Limits())
    assert found.tools.fs.read == ("tests",)
    assert found.tools.fs.write == ()
    assert any("the operator's policy, the one who asks" in each.why for each in refused)


def test_what_a_rule_denies_is_refused_with_the_rule() -> None:
    rules = (Rule("deny", "exec", "git", source="policy.toml:4"), Rule("ask", "write", "docs"))
    level = Grants(
        tools=None,
        fs_read=(".",),
        fs_write=(".",),
        net=("https://example.org", "https://other.example"),
        exec=("*",),
        spawn=frozenset({"*"}),
        rules=rules,
    )
    found, refused = clipped(wish(), (level,), Limits())
    assert found.tools.shell.exec == ("python -m pytest",)
    assert found.tools.fs.write == ("src", "docs")
    (only,) = refused
    assert (only.what, only.wish) == ("tools.shell.exec", "git")
    assert only.why == "denied by a rule in policy.toml:4"


def test_commands_that_could_not_run_are_taken_out() -> None:
    found, refused = clipped(wish(), (Grants(tools=None, fs_read=(".",)),), Limits())
    assert found.verify == ()
    assert ("verify", "python -m pytest") in {(each.what, each.wish) for each in refused}


def test_the_budget_is_no_larger_than_that_of_the_maker() -> None:
    limits = Limits(tokens=20_000, nusd=2_500_000_000, seconds=600)
    found, refused = clipped(wish(), (), limits)
    assert found.budget.tokens == 20_000
    assert found.budget.usd == Decimal("2.5")
    assert found.budget.seconds == 60
    assert [(each.what, each.wish, each.got) for each in refused] == [
        ("budget.tokens", "50000", "20000"),
        ("budget.usd", "3", "2.5"),
    ]


paths = st.lists(
    st.sampled_from([".", "src", "src/pay", "src/pay/a.py", "docs", ".github", ".env"]),
    unique=True,
    max_size=4,
)


@given(paths, paths, paths, paths)
def test_no_path_is_allowed_that_was_not_before(
    read: list[str], write: list[str], top_read: list[str], top_write: list[str]
) -> None:
    asked = wish(tools={"mcp": ["read_file"], "fs": {"read": read, "write": write}}, verify=[])
    ceiling = Grants(tools=None, fs_read=tuple(top_read), fs_write=tuple(top_write), source="top")
    found, refused = clipped(asked, (ceiling,), Limits())
    for path in (".", "src", "src/pay/a.py", "docs/x", ".github/x", ".env", "other"):
        for access in ("read", "write"):
            request = [PathRequest(path, access)]
            before = authorize(request, Subject("", "", (ceiling, asked.grants())))
            after = authorize(request, Subject("", "", (found.grants(),)))
            assert after.allowed == before.allowed, (path, access)
    named = {(each.what, each.wish) for each in refused}
    for path in set(found.tools.fs.read) ^ set(asked.tools.fs.read):
        kept = path in found.tools.fs.read
        assert kept or ("tools.fs.read", path) in named


@pytest.mark.parametrize("unit", ["tokens", "requests", "agents"])
def test_a_budget_that_is_not_asked_for_is_not_made_up(unit: str) -> None:
    found, refused = clipped(wish(budget={}), (), Limits(**{unit: 5}))
    assert getattr(found.budget, unit) is None
    assert refused == ()
