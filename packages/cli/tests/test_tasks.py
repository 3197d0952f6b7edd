import io

import pytest
from sashizu_cli.tasks import agent_names, make_tasks, text_or_stdin
from sashizu_core.errors import UsageError
from sashizu_core.types import Limits, Task


def test_names_are_separated_by_commas_and_may_repeat():
    assert agent_names("code-reviewer, sec-audit,code-reviewer") == (
        "code-reviewer",
        "sec-audit",
        "code-reviewer",
    )


@pytest.mark.parametrize("words", ["", " ", ",", " , "])
def test_an_empty_list_of_agents_is_refused_and_says_what_to_write(words):
    with pytest.raises(UsageError, match=r"no agent is named; write them as A,B,\.\.\."):
        agent_names(words)


def test_an_empty_name_among_others_is_refused():
    with pytest.raises(UsageError, match="'a,,b' has an empty name"):
        agent_names("a,,b")


def test_without_goals_and_scopes_the_definitions_decide():
    assert make_tasks(["a", "b"]) == [Task("a"), Task("b")]


def test_one_goal_and_one_scope_count_for_all():
    tasks = make_tasks(["a", "b"], goals=["look"], scopes=["src"])

    assert tasks == [Task("a", "look", ("src",)), Task("b", "look", ("src",))]


def test_as_many_as_agents_count_one_for_each_in_order():
    tasks = make_tasks(["a", "b"], goals=["one", "two, and three"], scopes=["x", "y,z"])

    assert tasks == [Task("a", "one", ("x",)), Task("b", "two, and three", ("y,z",))]


def test_another_number_is_refused_with_both_numbers():
    with pytest.raises(UsageError, match="--goal was given 2 times for 3 agents"):
        make_tasks(["a", "b", "c"], goals=["one", "two"])
    with pytest.raises(UsageError, match="--scope was given 4 times for 3 agents"):
        make_tasks(["a", "b", "c"], scopes=["1", "2", "3", "4"])


def test_a_single_agent_takes_many_scopes_and_one_goal():
    assert make_tasks(["a"], scopes=["x", "y"]) == [Task("a", scope=("x", "y"))]
    with pytest.raises(UsageError, match="--goal was given 2 times for 1 agent"):
        make_tasks(["a"], goals=["x", "y"])


def test_a_limit_goes_to_every_instance_of_its_agent_however_the_name_is_written():
    tasks = make_tasks(["code-reviewer", "b", "Code Reviewer"], limits={"code_reviewer": Limits(5)})

    assert [task.limits.tokens for task in tasks] == [5, None, 5]


def test_a_limit_for_an_agent_that_is_not_asked_is_refused():
    with pytest.raises(UsageError, match=r"--budget c=\.\.\. is for an agent that is not asked"):
        make_tasks(["a", "b"], limits={"c": Limits(5)})


def test_a_dash_reads_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\ufeffWhat? ü".encode())))

    assert text_or_stdin("-") == "What? ü"


@pytest.mark.parametrize(
    ("data", "message"), [(b" \n", "stdin is empty"), (b"caf\xe9", "stdin is no UTF-8 text")]
)
def test_stdin_that_holds_no_text_is_refused(monkeypatch, data, message):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    with pytest.raises(UsageError, match=message):
        text_or_stdin("-")


def test_an_empty_prompt_is_refused():
    with pytest.raises(UsageError, match="the prompt is empty"):
        text_or_stdin("  ")
