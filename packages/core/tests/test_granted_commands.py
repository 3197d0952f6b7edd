"""What grants of command lines reach, and what two have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.granted_commands import ANY_CODE, common_commands, reaches_command, rule_reaches
from sashizu_core.grants import ExecRequest, Grants, Rule, Subject
from sashizu_core.permissions import authorize
from sashizu_core.types import Decision


def judged(request: ExecRequest, *granted: str, rules: tuple[Rule, ...] = ()) -> Decision:
    return authorize([request], Subject("id", "agent", (Grants(exec=granted, rules=rules),)))


def runs(line: str, *granted: str) -> bool:
    argv = tuple(line.split())
    return judged(ExecRequest(argv, "/usr/bin/x"), *granted).allowed


@pytest.mark.parametrize(
    ("granted", "line"),
    [
        ("cargo", "cargo"),
        ("cargo", "cargo build --release"),
        ("cargo", "/usr/bin/cargo build"),
        ("cargo", "/usr/local/bin/cargo build"),
        ("npm audit", "npm audit"),
        ("npm audit", "npm audit --json"),
        ("  npm   audit ", "npm audit"),
        ("/opt/tool/bin/x", "/opt/tool/bin/x -v"),
        ("./gradlew test", "./gradlew test"),
        ("*", "anything at all"),
    ],
)
def test_a_grant_reaches_the_lines_that_begin_with_its_words(granted: str, line: str) -> None:
    assert runs(line, granted)


@pytest.mark.parametrize(
    ("granted", "line"),
    [
        ("cargo", "cargo-audit"),
        ("cargo", "xcargo"),
        ("cargo", "Cargo build"),
        ("cargo", "./cargo"),
        ("cargo", "bin/cargo"),
        ("cargo", "/tmp/cargo"),
        ("cargo", "/usr/bin/../../tmp/cargo"),
        ("cargo", "/usr/bin/x/cargo"),
        ("cargo", "env cargo"),
        ("npm audit", "npm"),
        ("npm audit", "npm run audit"),
        ("npm audit", "npm --prefix x audit"),
        ("git log", "git -c core.pager=evil log"),
        ("/opt/tool/bin/x", "x"),
        ("/usr/bin/git", "git"),
        ("*", ""),
        ("* build", "cargo build"),
        ("c*", "cargo"),
        ("", "cargo"),
        (" ", "cargo"),
    ],
)
def test_a_grant_reaches_no_other_line(granted: str, line: str) -> None:
    assert not runs(line, granted)


@pytest.mark.parametrize(
    "argv",
    [
        ("cargo --version; rm -rf ~",),
        ("cargo build",),
        ("cargo\n",),
        ("cargo ",),
        ("", "cargo"),
        ("carg\u200bo",),
        ("ｃargo",),  # noqa: RUF001 - a wide letter
        ("cargo\0", "x"),
        ("cargo", "x\0y"),
        (),
    ],
)
def test_words_are_compared_whole_and_never_split_or_cleaned(argv: tuple[str, ...]) -> None:
    assert not judged(ExecRequest(argv, "/usr/bin/cargo"), "cargo").allowed


def test_any_code_runs_only_where_a_sandbox_enforces() -> None:
    free = judged(ExecRequest(("python", "x.py"), "/usr/bin/python", any_code=True), "*")
    assert (free.verdict, ANY_CODE in free.reason) == ("deny", True)
    held = ExecRequest(("python", "x.py"), "/usr/bin/python", any_code=True, enforced_by="box")
    assert judged(held, "python").allowed
    assert not judged(held, "ruby").allowed


def test_what_was_not_understood_or_not_found_is_denied() -> None:
    doubted = judged(ExecRequest(("find", "-x"), "/usr/bin/find", doubt="'-x'"), "*")
    assert (doubted.verdict, "not understood: '-x'" in doubted.reason) == ("deny", True)
    for program in ("", "git", "./git", "bin/git"):
        assert not judged(ExecRequest(("git",), program), "*").allowed
    assert judged(ExecRequest(("git",), r"C:\Program Files\Git\git.exe"), "git").allowed


# --- what two have in common ----------------------------------------------------------------------

WORDS = st.sampled_from(["git", "/usr/bin/git", "/bin/git", "/opt/git", "./git", "npm", "*"])
MORE = st.lists(st.sampled_from(["log", "push", "-v"]), max_size=2)
GRANTS = st.lists(st.builds(lambda word, more: " ".join([word, *more]), WORDS, MORE), max_size=3)
LINES = st.builds(
    lambda word, more: (word, *more), WORDS, st.lists(st.sampled_from(["log", "push", "-v"]))
)


@given(GRANTS, GRANTS, LINES)
def test_two_lists_have_in_common_exactly_what_both_reach(
    mine: list[str], theirs: list[str], line: tuple[str, ...]
) -> None:
    def reached(granted: list[str] | tuple[str, ...]) -> bool:
        return any(reaches_command(each, line) for each in granted)

    assert reached(common_commands(mine, theirs)) == (reached(mine) and reached(theirs))


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "git push",
        "git push origin main",
        "/usr/bin/git push",
        "/tmp/git push",
        "GIT push",
        "git.exe push",
        "git -C x push",
        "git -c a=b --no-pager push",
        "git --git-dir=x push",
    ],
)
def test_a_rule_finds_a_program_under_any_path_and_behind_options(line: str) -> None:
    argv = tuple(line.split())
    deny = Rule("deny", "exec", "git push")
    assert rule_reaches("git push", ExecRequest(argv, "/usr/bin/git"))
    assert judged(ExecRequest(argv, "/usr/bin/git"), "*", rules=(deny,)).verdict == "deny"


def test_a_rule_finds_what_a_name_was_resolved_to() -> None:
    assert rule_reaches("rm", ExecRequest(("delete",), "/bin/rm"))


@pytest.mark.parametrize("line", ["git log push", "git", "gitk push", "git pull", "git x -1 push"])
def test_a_rule_is_not_about_other_lines(line: str) -> None:
    argv = tuple(line.split())
    assert not rule_reaches("git push", ExecRequest(argv, f"/usr/bin/{argv[0]}"))


def test_a_long_line_of_options_is_judged_at_once() -> None:
    argv = ("git", *["-c"] * 20_000, "status")
    assert not rule_reaches("git push --force", ExecRequest(argv, "/usr/bin/git"))
