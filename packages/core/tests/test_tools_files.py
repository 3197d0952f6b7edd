from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from sashizu_core.builtin.codebase_search import CodebaseSearch
from sashizu_core.builtin.list_files import ListFiles
from sashizu_core.builtin.read_file import ReadFile
from sashizu_core.builtin.text import MAX_RESULT, decoded, split_lines
from sashizu_core.builtin.tools import file_tools
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.builtin.write_file import WriteFile
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import Grants, PathRequest, PermissionRequest, Rule, Subject
from sashizu_core.permissions import readable
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.types import StepKind, ToolResult
from sashizu_core.workspace import Workspace

ALL = Grants(fs_read=(".",), fs_write=(".",))
Plant = Callable[..., None]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "root"
    root.mkdir()
    with Workspace.open(root) as workspace:
        yield workspace


@pytest.fixture
def plant(workspace: Workspace) -> Plant:
    def plant(texts: dict[str, str | bytes]) -> None:
        for name, text in texts.items():
            path = workspace.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return plant


def context_of(workspace: Workspace, *chain: Grants) -> ToolContext:
    subject = Subject("id", "agent", chain or (ALL,))
    return ToolContext("id", "agent", "run", workspace, readable=readable(subject))


async def use(tool: Tool, context: ToolContext, **arguments: Any) -> str:
    return (await tool.run(tool.parse(json.dumps(arguments)), context)).content


# --- list_files -----------------------------------------------------------------------------------


async def test_files_are_listed_sorted_without_ignored_ones(
    workspace: Workspace, plant: Plant
) -> None:
    plant({"b/2": "", "a": "", "b/c/3": "", "x.log": "", ".gitignore": "*.log", ".git/config": ""})
    context = context_of(workspace)
    assert await use(ListFiles(), context) == ".gitignore\na\nb/2\nb/c/3"
    assert await use(ListFiles(), context, path="b") == "b/2\nb/c/3"
    assert await use(ListFiles(), context, path="b/2") == "b/2"
    assert await use(ListFiles(), context, depth=1) == ".gitignore\na\nb/"
    assert await use(ListFiles(), context, depth=2) == ".gitignore\na\nb/2\nb/c/"
    with pytest.raises(ToolError, match="no such file"):
        await use(ListFiles(), context, path="nothing")


async def test_a_long_list_says_how_much_was_cut(workspace: Workspace, plant: Plant) -> None:
    plant({f"f{number}": "" for number in range(30)})
    listed = (await use(ListFiles(), context_of(workspace), limit=10)).splitlines()
    assert len(listed) == 11
    assert listed[-1].startswith("[cut: the first 10 of 30 entries")


async def test_only_granted_files_are_listed(workspace: Workspace, plant: Plant) -> None:
    plant({"src/a": "", "src/secret/b": "", "doc/c": "", "top": ""})
    rules = (Rule("deny", "read", "src/secret"),)
    own = Grants(fs_read=("src", "doc", "not-there"), rules=rules)
    context = context_of(workspace, ALL, own)
    assert await use(ListFiles(), context) == "doc/c\nsrc/a"
    assert await use(ListFiles(), context, path=".") == "doc/c\nsrc/a"
    nothing = context_of(workspace, Grants())
    assert ListFiles().requests(ListFiles().parse("{}"), nothing) == [PathRequest(".", "read")]
    with pytest.raises(ToolError, match="no grant"):
        await use(ListFiles(), nothing)


async def test_an_empty_folder_has_no_files(workspace: Workspace) -> None:
    assert await use(ListFiles(), context_of(workspace)) == "[no files]"


# --- read_file ------------------------------------------------------------------------------------


async def test_lines_are_numbered_and_the_file_is_described(
    workspace: Workspace, plant: Plant
) -> None:
    data = b"one\r\ntwo\n\nfour"
    plant({"a": data})
    about = f"14 bytes; sha256 {sha256(data).hexdigest()}"
    context = context_of(workspace)
    assert await use(ReadFile(), context, path="a") == (
        f"     1\tone\n     2\ttwo\n     3\t\n     4\tfour\n[lines 1-4 of 4; {about}]"
    )
    assert await use(ReadFile(), context, path="a", first=2, last=2) == (
        f"     2\ttwo\n[lines 2-2 of 4; {about}]"
    )
    assert "[lines 3-4 of 4;" in await use(ReadFile(), context, path="a", first=3, last=99)
    with pytest.raises(ToolError, match="has 4 lines; there is no line 5"):
        await use(ReadFile(), context, path="a", first=5)


async def test_a_long_file_is_cut_and_says_how_to_go_on(workspace: Workspace, plant: Plant) -> None:
    plant({"a": "".join(f"line {number}\n" for number in range(1, 20_001)), "b": "x" * 5000})
    context = context_of(workspace)
    first = await use(ReadFile(), context, path="a")
    assert len(first) < MAX_RESULT + 300
    note = first.splitlines()[-1]
    go_on = int(note.split("first=")[1].split(")")[0])
    second = await use(ReadFile(), context, path="a", first=go_on)
    assert second.splitlines()[0].endswith(f"line {go_on}")
    assert "… [+4000 characters]" in await use(ReadFile(), context, path="b")


async def test_binary_and_too_large_files_are_refused(workspace: Workspace, plant: Plant) -> None:
    plant({"binary": b"\x7fELF\0\0", "empty": "", "latin": b"caf\xe9", "bom": b"\xef\xbb\xbfx"})
    plant({"utf16": "héllo".encode("utf-16"), "broken": b"\xff\xfex"})
    with (workspace.root / "huge").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    context = context_of(workspace)
    for path in ("binary", "broken"):
        with pytest.raises(ToolError, match="not text"):
            await use(ReadFile(), context, path=path)
    with pytest.raises(ToolError, match=r"at most 16,777,216"):
        await use(ReadFile(), context, path="huge")
    assert (await use(ReadFile(), context, path="empty")).startswith("[the file is empty; 0 bytes")
    assert "\tcaf\ufffd\n" in await use(ReadFile(), context, path="latin")
    assert (await use(ReadFile(), context, path="bom")).startswith("     1\tx\n")
    assert "héllo" in await use(ReadFile(), context, path="utf16")


async def test_a_link_to_a_file_that_is_not_granted_is_not_read(
    workspace: Workspace, plant: Plant
) -> None:
    plant({"private/key": "secret", "public/x": "x"})
    (workspace.root / "public" / "link").symlink_to("../private/key")
    context = context_of(workspace, Grants(fs_read=("public",)))
    with pytest.raises(ToolError, match="no grant"):
        await use(ReadFile(), context, path="public/link")


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_a_tool_error(data: bytes) -> None:
    try:
        text = decoded(data, "x")
    except ToolError:
        return
    assert text.encode().decode() == text
    for line in split_lines(text):
        assert "\n" not in line


# --- write_file -----------------------------------------------------------------------------------


async def test_a_new_file_is_written_and_reported(workspace: Workspace) -> None:
    digest = sha256("hé\n".encode()).hexdigest()
    context = context_of(workspace)
    written = await use(WriteFile(), context, path="a/b.txt", content="hé\n")
    assert written == f"created: a/b.txt, 4 bytes, sha256 {digest}"
    assert (workspace.root / "a" / "b.txt").read_bytes() == "hé\n".encode()
    again = await use(WriteFile(), context, path="a/b.txt", content="hé\n")
    assert again == f"unchanged: a/b.txt, 4 bytes, sha256 {digest}"


async def test_a_file_is_overwritten_only_by_who_read_it(
    workspace: Workspace, plant: Plant
) -> None:
    plant({"a": "old"})
    context = context_of(workspace)
    with pytest.raises(ToolError, match="exists"):
        await use(WriteFile(), context, path="a", content="new")
    with pytest.raises(ToolError, match="read it again"):
        await use(WriteFile(), context, path="a", content="new", overwrite="0" * 64)
    assert (workspace.root / "a").read_text() == "old"
    seen = (await use(ReadFile(), context, path="a")).split("sha256 ")[1].rstrip("]")
    written = await use(WriteFile(), context, path="a", content="new", overwrite=seen)
    assert written.startswith("replaced: a, 3 bytes")
    assert (workspace.root / "a").read_text() == "new"


@pytest.mark.parametrize("overwrite", ["", "abc", "absent", "g" * 64])
def test_what_is_no_digest_is_an_arguments_error(overwrite: str) -> None:
    text = json.dumps({"path": "a", "content": "", "overwrite": overwrite})
    with pytest.raises(ArgumentsError, match="overwrite"):
        WriteFile().parse(text)


# --- codebase_search ------------------------------------------------------------------------------


async def test_the_passage_with_the_words_comes_first(workspace: Workspace, plant: Plant) -> None:
    filler = "\n".join(f"line {number}" for number in range(100))
    refund = "def refund_payment(order):\n    return order.refunds"
    plant(
        {
            "src/pay.py": f"{filler}\n{refund}\n{filler}",
            "src/other.py": filler,
            "notes.md": "a payment once",
            "ignored.py": "refund payment",
            ".gitignore": "ignored.py",
            "blob": b"refund payment\0",
        }
    )
    context = context_of(workspace)
    found = await use(CodebaseSearch(), context, query="refund of a payment", limit=5)
    assert found.splitlines()[:3] == [
        "src/pay.py:101",
        "   101\tdef refund_payment(order):",
        "   102\t    return order.refunds",
    ]
    assert "notes.md:1" in found
    assert "ignored" not in found
    assert "blob" not in found
    narrowed = await use(CodebaseSearch(), context, query="payment", path="notes.md")
    assert narrowed == "notes.md:1\n     1\ta payment once"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("parseHttpUrl(x)", "url parse"),
        ("parse_http_url(x)", "HTTP"),
        ("XMLReader", "reader xml"),
        ("これは支払いの処理です", "支払い"),
        ("running tests", "run test"),
        ("café", "cafe"),
    ],
)
async def test_names_and_words_are_found_by_their_parts(
    workspace: Workspace, plant: Plant, text: str, query: str
) -> None:
    plant({"a": text, "b": "nothing of it"})
    assert (await use(CodebaseSearch(), context_of(workspace), query=query)).startswith("a:1\n")


@pytest.mark.parametrize("query", ["a AND (b", "NEAR(", "name:x OR", "-x ^y", "'; drop", '"x'])
async def test_nothing_in_a_query_is_syntax(workspace: Workspace, plant: Plant, query: str) -> None:
    plant({"f": "a b near name x y drop"})
    found = await use(CodebaseSearch(), context_of(workspace), query=query)
    assert found.startswith("f:1\n")


@pytest.mark.parametrize("query", ["*", '"', "--", "(?)"])
async def test_a_query_without_a_word_is_refused(workspace: Workspace, query: str) -> None:
    with pytest.raises(ToolError, match="no word"):
        await use(CodebaseSearch(), context_of(workspace), query=query)


async def test_only_granted_files_are_searched(workspace: Workspace, plant: Plant) -> None:
    plant({"src/a": "word", "doc/b": "word", "top": "word"})
    context = context_of(workspace, Grants(fs_read=("src",)))
    assert await use(CodebaseSearch(), context, query="word") == "src/a:1\n     1\tword"
    found = await use(CodebaseSearch(), context, query="absent")
    assert found == "[no passage has any of the words]"


class _WithoutFts5(sqlite3.Connection):
    """A SQLite that was built without full-text search, as some are."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:  # type: ignore[override]
        return super().execute(sql.replace("using fts5", "using no_such_module"), parameters)


async def test_a_sqlite_without_full_text_search_is_named(
    workspace: Workspace, plant: Plant
) -> None:
    plant({"a": "word"})
    tool = CodebaseSearch(lambda: sqlite3.connect(":memory:", factory=_WithoutFts5))
    with pytest.raises(ToolError, match=r"needs SQLite with FTS5.*use grep"):
        await use(tool, context_of(workspace), query="word")


async def test_a_cancelled_search_ends_between_two_files(
    workspace: Workspace, plant: Plant
) -> None:
    plant({f"d/{number}": "word " * 2000 for number in range(300)})
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: use(CodebaseSearch(), context_of(workspace), query="word"))
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert group.cancel_scope.cancelled_caught


# --- TypedTool ------------------------------------------------------------------------------------


class CountArguments(Arguments):
    path: str = Field(description="The file.")
    title: str = Field("", description="A heading.")


class Count(TypedTool[CountArguments]):
    name = "count"
    description = "Count the lines of a file."
    arguments = CountArguments

    def requests(
        self, arguments: CountArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return [PathRequest(context.workspace.name(arguments.path), "read")]

    async def run(self, arguments: CountArguments, context: ToolContext) -> ToolResult:
        return ToolResult(arguments.title)


def test_a_typed_tool_gets_its_schema_from_its_arguments() -> None:
    schema = Count().schema
    assert (schema.name, schema.description) == ("count", "Count the lines of a file.")
    assert schema.parameters == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "path": {"type": "string", "description": "The file."},
            "title": {"type": "string", "description": "A heading.", "default": ""},
        },
        "required": ["path"],
    }
    assert Count().kind is StepKind.PURE
    assert Count().parse('{"path": "a"}') == CountArguments(path="a")


def test_errors_name_each_argument_and_the_nearest_name() -> None:
    with pytest.raises(ArgumentsError) as caught:
        Count().parse('{"pth": "a", "title": 3}')
    text = str(caught.value)
    assert text.startswith("count: 'path': Field required")
    assert "there is no argument 'pth' (known: path, title); did you mean 'path'?" in text
    assert "'title': Input should be a valid string" in text
    with pytest.raises(ArgumentsError, match="'path': Field required"):
        Count().parse("")


def test_hostile_arguments_make_no_long_error() -> None:
    arguments = {f"x{number}" * 100: number for number in range(200)}
    with pytest.raises(ArgumentsError) as caught:
        Count().parse(json.dumps(arguments))
    assert len(str(caught.value)) < 2000
    with pytest.raises(ArgumentsError):
        Count().parse("[" * 100_000)


def test_reading_tools_are_pure_and_need_the_right_to_read() -> None:
    needs = {spec.name: spec.needs for spec in file_tools()}
    assert needs == {
        "list_files": ("fs.read",),
        "read_file": ("fs.read",),
        "grep": ("fs.read",),
        "codebase_search": ("fs.read",),
        "apply_patch": ("fs.read", "fs.write"),
        "write_file": ("fs.write",),
    }


async def test_tools_that_write_are_effects() -> None:
    for spec in file_tools():
        async with spec.open() as tool:
            assert (tool.kind is StepKind.EFFECT) == ("fs.write" in spec.needs)
