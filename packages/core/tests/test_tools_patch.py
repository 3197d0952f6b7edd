from __future__ import annotations

import difflib
import json
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sashizu_core.builtin.apply_patch import ApplyPatch
from sashizu_core.builtin.patch_apply import DoesNotApply, applied
from sashizu_core.builtin.patch_text import PatchError, read_patch
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import Grants, PathRequest, Subject
from sashizu_core.permissions import authorize, readable
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult
from sashizu_core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("one\ntwo\nthree\nfour\nfive\n")
    with Workspace.open(root) as workspace:
        yield workspace


@pytest.fixture
def context(workspace: Workspace) -> ToolContext:
    subject = Subject("id", "agent", (Grants(fs_read=(".",), fs_write=(".",)),))
    return ToolContext("id", "agent", "run", workspace, readable=readable(subject))


async def patch(context: ToolContext, text: str) -> ToolResult:
    tool = ApplyPatch()
    return await tool.run(tool.parse(json.dumps({"patch": text})), context)


def tree(context: ToolContext) -> dict[str, str]:
    root = context.workspace.root
    return {
        path.relative_to(root).as_posix(): path.read_bytes().decode()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


UNIFIED = """\
diff --git a/src/a.py b/src/a.py
index 1111111..2222222 100644
--- a/src/a.py
+++ b/src/a.py
@@ -1,3 +1,3 @@ something
 one
-two
+zwei
 three
@@ -5 +5,2 @@
 five
+six
diff --git a/new.txt b/new.txt
new file mode 100644
--- /dev/null
+++ b/new.txt
@@ -0,0 +1,2 @@
+hello
+world
"""

BEGIN_PATCH = """\
*** Begin Patch
*** Update File: src/a.py
@@
 one
-two
+zwei
 three
@@ four
 five
+six
*** End of File
*** Add File: new.txt
+hello
+world
*** End Patch
"""

AFTER = {"new.txt": "hello\nworld\n", "src/a.py": "one\nzwei\nthree\nfour\nfive\nsix\n"}


@pytest.mark.parametrize("text", [UNIFIED, BEGIN_PATCH], ids=["unified", "begin-patch"])
async def test_a_patch_is_applied_and_a_second_time_changes_nothing(
    context: ToolContext, text: str
) -> None:
    first = await patch(context, text)
    assert tree(context) == AFTER
    digest = sha256(AFTER["src/a.py"].encode()).hexdigest()
    assert f"replaced: src/a.py, 29 bytes, sha256 {digest}" in first.content
    assert "created: new.txt" in first.content
    before = {path: path.stat().st_mtime_ns for path in context.workspace.root.rglob("*")}
    second = await patch(context, text)
    assert second.content.startswith("nothing to do: the patch is applied already")
    assert not second.is_error
    assert tree(context) == AFTER
    assert {path: path.stat().st_mtime_ns for path in context.workspace.root.rglob("*")} == before


@pytest.mark.parametrize(
    "text",
    [
        UNIFIED.replace("-two", "-TWO"),
        UNIFIED.replace(" three", " three "),
        BEGIN_PATCH.replace(" one", " eins"),
        BEGIN_PATCH.replace("@@ four", "@@ vier"),
        BEGIN_PATCH.replace("*** Add File: new.txt", "*** Add File: src/a.py/x"),
        UNIFIED + "--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-a\n+b\n",
    ],
)
async def test_a_patch_that_does_not_fit_changes_no_file(context: ToolContext, text: str) -> None:
    before = tree(context)
    with pytest.raises(ToolError):
        await patch(context, text)
    assert tree(context) == before
    assert not (context.workspace.root / "new.txt").exists()


async def test_an_added_file_never_replaces_another(context: ToolContext) -> None:
    text = "*** Begin Patch\n*** Add File: src/a.py\n+mine\n*** End Patch"
    with pytest.raises(ToolError, match="exists"):
        await patch(context, text)


async def test_files_are_deleted_and_moved(context: ToolContext) -> None:
    moved = (
        "*** Begin Patch\n*** Update File: src/a.py\n*** Move to: lib/b.py\n"
        "@@\n-one\n+eins\n two\n*** End Patch"
    )
    for _ in range(2):
        await patch(context, moved)
        assert tree(context) == {"lib/b.py": "eins\ntwo\nthree\nfour\nfive\n"}
    renamed = (
        "diff --git a/lib/b.py b/c d.py\nsimilarity index 100%\n"
        "rename from lib/b.py\nrename to c d.py\n"
    )
    for _ in range(2):
        await patch(context, renamed)
        assert tree(context) == {"c d.py": "eins\ntwo\nthree\nfour\nfive\n"}
    for _ in range(2):
        await patch(context, "*** Begin Patch\n*** Delete File: c d.py\n*** End Patch")
        assert tree(context) == {}


async def test_a_deletion_by_diff_compares_the_whole_file(context: ToolContext) -> None:
    head = "--- a/src/a.py\n+++ /dev/null\n"
    with pytest.raises(ToolError, match="more lines"):
        await patch(context, head + "@@ -1,2 +0,0 @@\n-one\n-two\n")
    lines = "".join(f"-{word}\n" for word in ("one", "two", "three", "four", "five"))
    for _ in range(2):
        await patch(context, head + "@@ -1,5 +0,0 @@\n" + lines)
        assert tree(context) == {}


def test_a_patch_asks_for_every_file_it_names(context: ToolContext) -> None:
    tool = ApplyPatch()
    text = (
        "*** Begin Patch\n*** Update File: src/a.py\n*** Move to: ./b.py\n@@\n one\n+x\n"
        "*** Delete File: d\n*** Add File: .github/workflows/x.yml\n+on: push\n*** End Patch"
    )
    requests = tool.requests(tool.parse(json.dumps({"patch": text})), context)
    asked = [(one.path, one.access) for one in requests if isinstance(one, PathRequest)]
    assert asked == [
        ("src/a.py", "read"),
        ("src/a.py", "write"),
        ("b.py", "read"),
        ("b.py", "write"),
        ("d", "read"),
        ("d", "write"),
        (".github/workflows/x.yml", "write"),
    ]
    subject = Subject("id", "agent", (Grants(fs_read=(".",), fs_write=(".",)),))
    assert authorize(requests[:-1], subject).allowed
    assert not authorize(requests, subject).allowed


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_a_patch_of_a_file_outside_is_not_understood(context: ToolContext, path: str) -> None:
    tool = ApplyPatch()
    for text in (
        f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch",
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n",
        f"*** Begin Patch\n*** Update File: a\n*** Move to: {path}\n*** End Patch",
    ):
        if path.startswith("/") and "b//" in text:
            continue  # below b/ it is a relative path
        with pytest.raises(ToolError, match="outside"):
            tool.requests(tool.parse(json.dumps({"patch": text})), context)


async def test_a_patch_never_writes_to_git_or_through_a_link(context: ToolContext) -> None:
    (context.workspace.root / "link").symlink_to("src")
    for path in (".git/hooks/pre-commit", "link/new.py"):
        with pytest.raises(ToolError, match="cannot change"):
            await patch(context, f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch")
    text = "--- a/link/a.py\n+++ b/link/a.py\n@@ -1 +1 @@\n-one\n+eins\n"
    with pytest.raises(ToolError, match="symbolic link"):
        await patch(context, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "*** Begin Patch\n*** End Patch",
        "*** Begin Patch\n*** Add File: a\n+x",
        "*** Begin Patch\n*** Add File: a\nx\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n@@\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n@@\n?x\n*** End Patch",
        "*** Begin Patch\n*** Frob File: a\n*** End Patch",
        "*** Begin Patch\n*** Delete File: a\n*** Delete File: a\n*** End Patch",
        "--- a/x\n",
        "--- a/x\n+++ b/x\n",
        "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n",
        "--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n+b\n",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n+c\n",
        "--- a/x\n+++ b/x\n@@ nonsense @@\n-a\n+b\n",
        "--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n",
        "diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n",
        "diff --git a/x b/x\nindex 1..2 120000\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
        "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n",
        "diff --git a/x b/x\nGIT binary patch\nliteral 1\n",
        "diff --git a/x b/y\ncopy from x\ncopy to y\n",
        '--- "a/\\777"\n+++ "b/\\777"\n@@ -1 +1 @@\n-a\n+b\n',
    ],
)
def test_what_is_no_patch_is_an_arguments_error(text: str) -> None:
    with pytest.raises(ArgumentsError, match="patch"):
        ApplyPatch().parse(json.dumps({"patch": text}))


@given(st.text('+-@ *ab\n\\"', max_size=60) | st.text(max_size=60))
def test_any_text_is_a_patch_or_a_patch_error(text: str) -> None:
    for shown in (text, f"*** Begin Patch\n{text}\n*** End Patch", f"--- a/x\n+++ b/x\n{text}"):
        try:
            read_patch(shown)
        except PatchError:
            continue


def test_empty_files_and_unusual_names_are_read() -> None:
    header = 'diff --git "a/t\\303\\244b\\t.txt" "b/t\\303\\244b\\t.txt"\nnew file mode 100644\n'
    (file,) = read_patch(header + "index 0000000..e69de29\n")
    assert (file.action, file.path) == ("add", "täb\t.txt")
    (file,) = read_patch("--- a b.txt\t2026-01-01\n+++ a b.txt\t2026-01-02\n@@ -1 +1 @@\n-a\n+b\n")
    assert file.path == "a b.txt"


# --- where hunks go -------------------------------------------------------------------------------


def hunks_of(body: str) -> tuple[object, ...]:
    return read_patch(f"*** Begin Patch\n*** Update File: a\n{body}\n*** End Patch")[0].hunks


def result(text: str, body: str) -> tuple[str, bool]:
    found = applied(text, hunks_of(body))  # type: ignore[arg-type]
    return found.text, found.already


def test_a_place_must_be_the_only_one_unless_a_line_above_says_which() -> None:
    text = "def f():\n    return 1\n\ndef g():\n    return 1\n"
    with pytest.raises(DoesNotApply, match="several places"):
        result(text, "@@\n-    return 1\n+    return 2")
    changed, _ = result(text, "@@ def g():\n-    return 1\n+    return 2")
    assert changed == "def f():\n    return 1\n\ndef g():\n    return 2\n"


def test_a_line_added_beside_its_equal_is_added_once() -> None:
    once, already = result("a\nb\n", "@@\n a\n+a\n b")
    assert (once, already) == ("a\na\nb\n", False)
    assert result(once, "@@\n a\n+a\n b") == (once, True)
    assert result("a\n", "@@\n a\n+x\n*** End of File") == ("a\nx\n", False)
    assert result("a\nx\n", "@@\n a\n+x\n*** End of File") == ("a\nx\n", True)
    assert result("a\na\n", "@@\n a\n-a") == ("a\n", False)


def test_lines_without_context_go_to_the_end_once() -> None:
    assert result("a", "@@\n+b") == ("a\nb\n", False)
    assert result("a\nb\n", "@@\n+b") == ("a\nb\n", True)
    assert result("a\nc\n", "@@ a\n+b") == ("a\nb\nc\n", False)


def test_a_removal_that_leaves_nothing_to_compare_is_not_called_applied() -> None:
    with pytest.raises(DoesNotApply):
        result("a\nb\n", "@@\n-x")


def test_line_ends_and_marks_are_kept() -> None:
    assert result("a\r\nb\r\n", "@@\n a\n-b\n+c\n+d") == ("a\r\nc\r\nd\r\n", False)
    assert result("\ufeffa\nb", "@@\n a\n-b\n+c") == ("\ufeffa\nc\n", False)
    assert result("a\x0cb\nc\n", "@@\n a\x0cb\n-c\n+d") == ("a\x0cb\nd\n", False)


def unified(old: str, new: str, context: int) -> str:
    """What `diff -u` says, with git's mark for a last line without an end."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), "a/f", "b/f", n=context
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


TEXTS = st.tuples(
    st.lists(st.sampled_from(["a", "b", "c", "", "-x", "+y", "@@"]), max_size=12), st.booleans()
).map(lambda pair: "\n".join(pair[0]) + ("\n" if pair[1] and pair[0] else ""))


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 3))
def test_a_diff_turns_the_old_text_into_the_new_one(old: str, new: str, context: int) -> None:
    text = unified(old, new, context)
    assume(text)
    (file,) = read_patch(text)
    found = applied(old, file.hunks)
    assert found.text == new or found.already
    if not found.already:
        assert found.text == new


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12, unique=True), st.data())
def test_a_diff_applied_twice_changes_nothing_more(lines: list[int], data: st.DataObject) -> None:
    """With lines that differ, nothing is ambiguous."""
    kept = data.draw(st.lists(st.sampled_from([*lines, -1]), max_size=14, unique=True))
    old = "".join(f"{line}\n" for line in lines)
    new = "".join(f"{line}\n" for line in kept)
    text = unified(old, new, 3)
    assume(text and new)
    (file,) = read_patch(text)
    first = applied(old, file.hunks)
    assert (first.text, first.already) == (new, False)
    second = applied(first.text, file.hunks)
    assert (second.text, second.already) == (new, True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git writes the patch")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(["a", "b c", "d/ä"]), TEXTS), st.data())
async def test_what_git_writes_is_applied(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, str], data: st.DataObject
) -> None:
    after = data.draw(st.dictionaries(st.sampled_from(["a", "b c", "d/ä"]), TEXTS))
    assume(before != after)
    base = tmp_path_factory.mktemp("git")
    for name, texts in (("old", before), ("new", after)):
        for path, text in texts.items():
            (base / name / path).parent.mkdir(parents=True, exist_ok=True)
            (base / name / path).write_text(text)
        (base / name).mkdir(exist_ok=True)
    command = ["git", "-C", str(base), "diff", "--no-index", "--no-renames", "old", "new"]
    text = subprocess.run(command, capture_output=True, check=False).stdout.decode()
    text = text.replace("a/old/", "a/").replace("b/new/", "b/").replace("a/new/", "a/")
    text = text.replace("b/old/", "b/")
    subject = Subject("id", "agent", (Grants(fs_read=(".",), fs_write=(".",)),))
    with Workspace.open(base / "old") as workspace:
        context = ToolContext("id", "agent", "run", workspace, readable=readable(subject))
        answer = await patch(context, text)
        if "nothing to do" not in answer.content and "unchanged" not in answer.content:
            assert tree(context) == dict(sorted(after.items()))
