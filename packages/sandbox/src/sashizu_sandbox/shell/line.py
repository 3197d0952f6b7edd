"""A command line: simple commands, joined by `|`, `&&`, `||` and `;`. What is parsed is what runs.

The grammar is tree-sitter's of bash, of which only words are understood: plain ones, and quoted
ones without anything to expand. There is no shell, so nothing that is not understood can happen:
it is refused, with its place and with what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import tree_sitter_bash
from sashizu_core.errors import ToolError
from tree_sitter import Language, Node, Parser

from sashizu_sandbox.shell.joining import (
    REDIRECTS,
    Joined,
    Pipeline,
    SimpleCommand,
    Token,
    grouped,
)
from sashizu_sandbox.shell.words import check_characters, quoted_text, unquoted_text

__all__ = ["parse_argv", "parse_line"]

MAX_LINE_CHARACTERS = 32_768
MAX_COMMANDS = 32
MAX_WORDS = 2_000


def parse_argv(argv: Sequence[str]) -> tuple[Joined, ...]:
    """One command, given word by word: no character of it means anything.

    Raises:
        ToolError: a word holds characters that no argument needs.
    """
    if len(argv) > MAX_WORDS or sum(map(len, argv)) > MAX_LINE_CHARACTERS:
        raise ToolError(_too_long())
    for word in argv:
        check_characters(word)
    if not argv[0]:
        raise ToolError("the first word of argv is empty: it names the program")
    return (Joined("", Pipeline((SimpleCommand(tuple(argv)),))),)


def parse_line(text: str) -> tuple[Joined, ...]:
    """A command line as it is written for a shell.

    Raises:
        ToolError: something of it is not understood; says what, where, and what to write instead.
    """
    if len(text) > MAX_LINE_CHARACTERS:
        raise ToolError(_too_long())
    check_characters(text)
    data = text.encode()
    tokens = _Tokens(data)
    tokens.read(_parser().parse(data).root_node)
    found = tuple(grouped(tokens.found))
    if not found:
        raise ToolError("the command is empty")
    commands = [command for joined in found for command in joined.pipeline.commands]
    if len(commands) > MAX_COMMANDS or sum(len(c.words) for c in commands) > MAX_WORDS:
        raise ToolError(_too_long())
    return found


def _too_long() -> str:
    return (
        f"the command is too long: at most {MAX_LINE_CHARACTERS} characters, {MAX_WORDS} words "
        f"and {MAX_COMMANDS} commands are understood; write a script to a file, or call me again"
    )


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


# --- tokens ---------------------------------------------------------------------------------------


_COMPOSED = frozenset({"program", "list", "pipeline", "command", "command_name"})
_OPERATORS = frozenset({"&&", "||", ";", "|", "|&"})
_PARTS = frozenset({"word", "redirect"})
_ATOMS = frozenset({"word", "number", "raw_string", "string", "concatenation"})

_INSTEAD = {
    "simple_expansion": "a variable is not expanded here: write its value",
    "expansion": "a variable is not expanded here: write its value",
    "arithmetic_expansion": "nothing is computed here: write the number",
    "command_substitution": "run the inner command first, and use what it printed",
    "process_substitution": "run the inner command first, and use what it printed",
    "ansi_c_string": "write the text in plain quotes, or give argv",
    "translated_string": "write the text in plain quotes",
    "brace_expression": "braces are not expanded: write the words out, or quote them",
    "variable_assignment": "variables cannot be set: the environment is fixed",
    "variable_assignments": "variables cannot be set: the environment is fixed",
    "declaration_command": "variables cannot be set: the environment is fixed",
    "unset_command": "variables cannot be set: the environment is fixed",
    "heredoc_redirect": "write the text to a file with write_file, and name the file",
    "herestring_redirect": "write the text to a file with write_file, and name the file",
    "subshell": "write the commands without parentheses",
    "compound_statement": "write the commands without braces",
    "negated_command": "leave out the '!': the answer shows the exit status",
    "test_command": "write it as 'test …'",
    "&": "nothing runs in the background: leave out the '&', or give a timeout",
}
_UNKNOWN_INSTEAD = "only plain commands are understood, joined by '|', '&&', '||' or ';'"


def _refusal(data: bytes, node: Node) -> ToolError:
    """What is not understood, and where: lines and columns from 1, in characters."""
    before = data[: node.start_byte].decode(errors="replace")
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    text = data[node.start_byte : node.end_byte].decode(errors="replace")
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    name = node.type.replace("_", " ") if node.is_named and not node.is_error else "this"
    what = f"a {name}" if name != "this" else name
    instead = _INSTEAD.get(node.type, _UNKNOWN_INSTEAD)
    where = f"line {line}, column {column}" if line > 1 else f"column {column}"
    return ToolError(f"{shown!r} at {where} is not understood ({what}): {instead}")


@dataclass(slots=True)
class _Tokens:
    """Flattens a syntax tree, so that how commands group is ours to say, by the rules of POSIX."""

    data: bytes
    found: list[Token] = field(default_factory=list)
    _end: int = 0

    def read(self, root: Node) -> None:
        """Take all of a tree.

        Raises:
            ToolError: something in it is no word and no joint.
        """
        self._composed(root)
        self._gap(len(self.data))
        if root.has_error:
            raise ToolError(f"a quote or a word has no end: {_UNKNOWN_INSTEAD}")

    def _composed(self, node: Node) -> None:
        for child in node.children:
            self._node(child)

    def _node(self, node: Node) -> None:
        kind = node.type
        if node.is_error or node.is_missing:
            raise _refusal(self.data, node)
        if kind in _ATOMS:
            self._take(node, Token("word", self._word(node)))
        elif kind in _COMPOSED:
            self._composed(node)
        elif kind in _OPERATORS:
            self._take(node, Token(kind))
        elif kind == "\n":
            self._take(node, Token(";"))
        elif kind == "redirected_statement":
            self._composed(node)
        elif kind == "file_redirect":
            self._take(node, Token("redirect", self._redirect(node)))
        elif kind == "comment":
            self._gap(node.start_byte, "word")
            self._end = node.end_byte
        else:
            raise _refusal(self.data, node)

    def _take(self, node: Node, token: Token) -> None:
        self._gap(node.start_byte, token.kind)
        self.found.append(token)
        self._end = node.end_byte

    def _gap(self, start: int, before: str = "") -> None:
        """What lies between two tokens: blanks, which mean nothing, and line ends, which join.

        `before` is the kind of what follows. Where words and redirections touch, a shell may see
        other words than the grammar does.
        """
        gap = self.data[self._end : start].replace(b"\\\n", b"")
        if gap.strip(b" \t\n"):
            raise ToolError(
                f"{gap.decode(errors='replace')!r} is not understood: {_UNKNOWN_INSTEAD}"
            )
        if b"\n" in gap:
            self.found.append(Token(";"))
        elif not gap and before in _PARTS and self.found and self.found[-1].kind in _PARTS:
            raise ToolError(
                "words and redirections touch each other: put blanks between them, also before a "
                "backslash at the end of a line"
            )

    # --- words ------------------------------------------------------------------------------------

    def _text(self, node: Node) -> str:
        return self.data[node.start_byte : node.end_byte].decode()

    def _word(self, node: Node) -> str:
        """What a word says, without its quotes."""
        pieces: list[tuple[str, str]] = []
        for part in self._parts(node):
            if pieces and pieces[-1][1].endswith("$") and part.type in ("string", "raw_string"):
                raise _refusal(self.data, node)  # `$"…"` and `$'…'` are more than quotes
            pieces.append(self._piece(part))
        whole = "".join(mask for _, mask in pieces)
        return unquoted_text("".join(text for text, _ in pieces), whole)

    def _parts(self, node: Node) -> Iterator[Node]:
        if node.type != "concatenation":
            yield node
            return
        end = node.start_byte
        for part in node.children:
            if part.start_byte != end or part.is_error:
                raise _refusal(self.data, part if part.is_error else node)
            yield part
            end = part.end_byte

    def _piece(self, node: Node) -> tuple[str, str]:
        text = self._text(node)
        match node.type:
            case "raw_string":
                return quoted_text(text[1:-1], single=True)
            case "string":
                return quoted_text(text[1:-1])
            case "word" | "number" | "$":
                if node.child_count:
                    raise _refusal(self.data, node.children[0])
                return quoted_text(text, bare=True)
            case _:
                raise _refusal(self.data, node)

    def _redirect(self, node: Node) -> str:
        """A redirection without its blanks, if it is one of those that touch no file."""
        text = "".join(self._text(part) for part in node.children)
        if text not in REDIRECTS:
            raise ToolError(
                f"{self._text(node)!r} is not understood: files are not written or read by "
                "redirection; output is shown to you, write_file writes a file, and "
                "'2>&1' and '>/dev/null' are understood"
            )
        return text
