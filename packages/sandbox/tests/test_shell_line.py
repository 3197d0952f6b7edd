"""Command lines: what is understood says the same as to a shell, and the rest is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sashizu_core.errors import ToolError
from sashizu_sandbox.shell.joining import Joined
from sashizu_sandbox.shell.line import parse_argv, parse_line

BASH = shutil.which("bash")

PIECES = ["a", "b", "-", "=", "/", ".", "~", "#", "!", "'", '"', "\\", "$", "`", "*", "?", "[", "]"]
PIECES += ["{", "}", ",", "(", ")", "<", ">", "|", "&", ";", " ", "  ", "\t", "\n", "é", "%", "^"]
PIECES += ["'a b'", '"a b"', "\\ ", "a=b", "$a", "${a}", "$(a)", '"$a"', "2>&1", ">a", "a..b"]


def words(line: Sequence[Joined]) -> list[list[tuple[str, ...]]]:
    return [[command.words for command in joined.pipeline.commands] for joined in line]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ls -la", [[("ls", "-la")]]),
        ("  ls\t-la  ", [[("ls", "-la")]]),
        ("ls -la # everything", [[("ls", "-la")]]),
        ("a | b | c", [[("a",), ("b",), ("c",)]]),
        ("a && b || c ; d", [[("a",)], [("b",)], [("c",)], [("d",)]]),
        ("a\nb\n", [[("a",)], [("b",)]]),
        ("a &&\n  b", [[("a",)], [("b",)]]),
        ("a \\\n  b", [[("a", "b")]]),
        ("a 'b  c' \"d e\" f\\ g ''", [[("a", "b  c", "d e", "f g", "")]]),
        ("a --x='y z'\"w\"", [[("a", "--x=y zw")]]),
        ("a '$HOME' \\$HOME '`b`' '*'", [[("a", "$HOME", "$HOME", "`b`", "*")]]),
        ("a HEAD~1 HEAD^ a@{1} b:c", [[("a", "HEAD~1", "HEAD^", "a@{1}", "b:c")]]),
        ("grep -n 'a|b' c", [[("grep", "-n", "a|b", "c")]]),
    ],
)
def test_what_is_understood(line: str, found: list[list[tuple[str, ...]]]) -> None:
    assert words(parse_line(line)) == found


@pytest.mark.parametrize(
    ("line", "out", "err"),
    [
        ("a", "out", "err"),
        ("a 2>&1", "out", "out"),
        ("a >&2", "err", "err"),
        ("a >/dev/null", "nowhere", "err"),
        ("a > /dev/null 2>&1", "nowhere", "nowhere"),
        ("a 2>&1 >/dev/null", "nowhere", "out"),
        ("a &>/dev/null", "nowhere", "nowhere"),
        ("a </dev/null", "out", "err"),
    ],
)
def test_redirections_that_touch_no_file_are_understood(line: str, out: str, err: str) -> None:
    ((command,),) = [joined.pipeline.commands for joined in parse_line(line)]
    assert (command.stdout, command.stderr) == (out, err)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "the command is empty"),
        ("# nothing", "the command is empty"),
        ("ls | ", "is not understood"),
        ("ls &", "nothing runs in the background"),
        ("echo $HOME", "write its value"),
        ("echo $(id)", "run the inner command first"),
        ("echo `id`", "run the inner command first"),
        ("A=b ls", "the environment is fixed"),
        ("ls *.py", "name the files, or quote it"),
        ("ls ~/x", "there is no home folder here"),
        ("ls {a,b}", "write the words out"),
        ("ls > out", "write_file writes a file"),
        ("cat <<EOF\nx\nEOF", "write the text to a file"),
        ("(ls)", "without parentheses"),
        ("! ls", "the answer shows the exit status"),
        ("[[ -f a ]]", "write it as 'test"),
        ("echo 'a", "is not understood"),
        ("echo \u200bx", "U+200B, an invisible character"),
        ("echo a\u00a0b", "a blank"),
        ("echo \x1b[0m", "a control character"),
        ("echo " + "a " * 3_000, "too long"),
        ("a | " * 40 + "a", "too long"),
        ("'' a", "it names the program"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_to_do(line: str, told: str) -> None:
    with pytest.raises(ToolError) as refused:
        parse_line(line)
    assert told in str(refused.value)


def test_a_refusal_says_where() -> None:
    with pytest.raises(ToolError, match=r"'\$\(id\)' at line 2, column 6"):
        parse_line("ls -la\necho $(id)")


def quoted(given_words: list[str]) -> str:
    """Each word in quotes: `if` without them is no word of a command."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in given_words)


@example(["if"])
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=6))
def test_words_that_were_quoted_for_a_shell_come_back_as_they_were(given_words: list[str]) -> None:
    try:
        (expected,) = parse_argv(given_words)
    except ToolError:
        with pytest.raises(ToolError):
            parse_line(quoted(given_words))
        return
    assert words(parse_line(quoted(given_words))) == words([expected])


@example("ls\\")
@example("'\\\n")
@example("a=")
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = parse_line(text)
    except ToolError:
        return
    assert found
    assert all(command.words[0] for joined in found for command in joined.pipeline.commands)


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join))
def test_what_is_understood_means_the_same_to_bash(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Bash hears the line as arguments of a function that prints them; there is no program."""
    try:
        line = parse_line(f"said {text}")
    except ToolError:
        return
    if len(line) != 1 or len(line[0].pipeline.commands) != 1:
        return
    assert BASH is not None
    script = f"said() {{ printf '%s\\0' said \"$@\" >&3; }}\nexec 3>&1\nsaid {text}\n"
    told = subprocess.run(
        [BASH, "--norc", "--noprofile", "-c", script],
        cwd=_empty_folder(tmp_path_factory),
        env={"PATH": "/nonexistent", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
        timeout=10,
    )
    heard = told.stdout.decode().split("\0")[:-1]
    assert tuple(heard) == line[0].pipeline.commands[0].words, told.stderr.decode()


def _empty_folder(factory: pytest.TempPathFactory) -> str:
    folder = factory.getbasetemp() / "empty"
    folder.mkdir(exist_ok=True)
    return str(folder)
