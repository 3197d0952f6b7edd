from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_core.errors import ToolError, UsageError
from sashizu_core.workspace import Change, Workspace
from sashizu_core.workspace.cached import is_local
from sashizu_core.workspace.dirs import Dir, open_dir
from sashizu_core.workspace.named import NamedDir
from sashizu_core.workspace.posix import KernelDir, StepwiseDir, kernel_resolves

OPENERS: list[Callable[[Path], Dir]] = [NamedDir]
if sys.platform != "win32":
    OPENERS.append(StepwiseDir.open)
if kernel_resolves():
    OPENERS.append(KernelDir.open)

FOLLOWING = [opener for opener in OPENERS if opener != StepwiseDir.open]


def way(opener: Callable[[Path], Dir]) -> str:
    return getattr(opener, "__self__", opener).__name__


@pytest.fixture(params=OPENERS, ids=way)
def opener(request: pytest.FixtureRequest) -> Callable[[Path], Dir]:
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("inside\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret\n")
    return root


@pytest.fixture
def workspace(root: Path, opener: Callable[[Path], Dir]) -> Iterator[Workspace]:
    with Workspace(root, opener=opener) as workspace:
        yield workspace


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- at once --------------------------------------------------------------------------------------


@pytest.mark.skipif(not kernel_resolves(), reason="other systems cannot say what is in memory")
def test_a_file_that_is_in_memory_is_read_at_once(root: Path) -> None:
    with (root / "src" / "a.py").open("rb") as file:
        file.read()
        try:
            os.preadv(file.fileno(), [bytearray(9)], 0, os.RWF_NOWAIT)
        except OSError:
            pytest.skip("the file system of this folder cannot say what is in memory")
        if not is_local(ctypes.CDLL(None), file.fileno()):
            pytest.skip("the file system of this folder is none that is known to ask nobody")
    with Workspace.open(root) as workspace:
        assert workspace.read_at_once("src/../src/a.py", 7) == b"inside\n"
        (root / "src" / "a.py").write_bytes(b"other")
        assert workspace.read_at_once("src/a.py", 100, readable=lambda _: True) == b"other"
        (root / "src" / "a.py").write_bytes(b"")
        assert workspace.read_at_once("src/a.py", 0) == b""


def test_what_is_not_simply_there_is_not_read_at_once(workspace: Workspace, root: Path) -> None:
    (root / "link.py").symlink_to("src/a.py")
    (root / "out.txt").symlink_to("../outside/secret.txt")
    (root / "linked").symlink_to("src", target_is_directory=True)
    names = ["link.py", "out.txt", "linked/a.py", "src", "no.py", "src/a.py/x", "."]
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "fifo")
        names.append("fifo")
    for name in names:
        assert workspace.read_at_once(name, 100) is None
    assert workspace.read_at_once("src/a.py", 6) is None
    assert workspace.read_at_once("src/a.py", 100, readable=lambda _: False) is None
    with pytest.raises(ToolError):
        workspace.read_at_once("../outside/secret.txt", 100)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (".", "."),
        ("./", "."),
        ("src", "src"),
        ("./src//a.py", "src/a.py"),
        ("src/../src/a.py/", "src/a.py"),
        ("a b/ö", "a b/ö"),
        ("..a/...", "..a/..."),
        ("~/x", "~/x"),
    ],
)
def test_a_file_has_one_name(workspace: Workspace, text: str, name: str) -> None:
    assert workspace.name(text) == name
    assert workspace.name(name) == name


def test_an_absolute_path_in_the_workspace_is_its_relative_name(
    workspace: Workspace, root: Path
) -> None:
    assert workspace.name(str(root / "src" / "a.py")) == "src/a.py"
    assert workspace.name(str(root)) == "."
    assert workspace.name(f"../{root.name}/src") == "src"


@pytest.mark.parametrize(
    "text",
    ["", " ", "..", "../x", "src/../../x", "/", "/etc/passwd", "a\0b", "a\ud800", "x" * 5000],
)
def test_a_text_that_means_nothing_in_here_is_refused(workspace: Workspace, text: str) -> None:
    with pytest.raises(ToolError):
        workspace.name(text)
    with pytest.raises(ToolError):
        workspace.read_bytes(text)
    with pytest.raises(ToolError):
        workspace.write_bytes(text, b"x")
    assert not workspace.exists(text)


def test_a_sibling_whose_name_begins_alike_is_outside(workspace: Workspace, root: Path) -> None:
    evil = root.with_name(root.name + "-evil")
    evil.mkdir()
    with pytest.raises(ToolError, match="outside the workspace"):
        workspace.name(str(evil))


def test_windows_names_are_understood_and_its_traps_refused() -> None:
    from sashizu_core.workspace.names import Names

    names = Names("/C:/Users/me/repo", windows=True)
    assert names.of(".\\src\\a.py") == "src/a.py"
    assert names.of("c:\\Users\\me\\repo\\src") == "src"
    assert names.of("src/**/*.py", is_glob=True) == "src/**/*.py"
    for text in ("nul", "src/con.txt", "a.txt:stream", "a.", "a ", "D:\\x", "..\\x", "\\\\host\\s"):
        with pytest.raises(ToolError):
            names.of(text)


def test_a_workspace_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as a workspace"):
        Workspace.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError):
        Workspace.open(tmp_path / "file")


def test_a_closed_workspace_opens_nothing(root: Path) -> None:
    workspace = Workspace.open(root)
    workspace.close()
    with pytest.raises(ToolError):
        workspace.read_bytes("src/a.py")


# --- reading --------------------------------------------------------------------------------------


def test_a_file_is_read_whole(workspace: Workspace) -> None:
    assert workspace.read_bytes("src/a.py") == b"inside\n"
    assert workspace.sha256("src/a.py") == sha256(b"inside\n")
    found = workspace.stat("src/a.py")
    assert (found.path, found.kind, found.bytes) == ("src/a.py", "file", 7)
    assert workspace.stat("src").kind == "folder"


def test_a_file_larger_than_the_limit_is_refused_with_both_sizes(workspace: Workspace) -> None:
    assert workspace.read_bytes("src/a.py", 7) == b"inside\n"
    with pytest.raises(ToolError, match="has 7 bytes; at most 6"):
        workspace.read_bytes("src/a.py", 6)


def test_what_is_missing_or_a_folder_says_so(workspace: Workspace) -> None:
    with pytest.raises(ToolError, match="no such file"):
        workspace.read_bytes("src/b.py")
    with pytest.raises(ToolError):
        workspace.read_bytes("src")
    with pytest.raises(ToolError):
        workspace.read_bytes("src/a.py/x")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
def test_a_fifo_a_socket_and_a_device_neither_hang_nor_read(
    workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "fifo")
    monkeypatch.chdir(root)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path in ("fifo", "socket"):
            with pytest.raises(ToolError, match="no regular file"):
                workspace.read_bytes(path)
            assert not workspace.exists(path)


def test_a_device_is_not_read() -> None:
    with Workspace.open("/dev") as workspace, pytest.raises(ToolError, match="no regular file"):
        workspace.read_bytes("zero")


def test_a_file_that_changes_while_it_is_read_is_refused(
    root: Path, opener: Callable[[Path], Dir], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "growing"
    path.write_bytes(b"x" * 100)
    real_read = os.read

    def read_and_grow(fd: int, count: int) -> bytes:
        data = real_read(fd, count)
        if data == b"x" * 100:
            path.write_bytes(b"y" * 100)
            os.utime(path, ns=(1, 1))
        return data

    with Workspace(root, opener=opener) as workspace:
        monkeypatch.setattr(os, "read", read_and_grow)
        with pytest.raises(ToolError, match="changed while it was read"):
            workspace.read_bytes("growing")


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", FOLLOWING, ids=way, indirect=True)
def test_a_link_that_stays_beneath_is_followed_for_reading(
    workspace: Workspace, root: Path
) -> None:
    (root / "link").symlink_to("src/a.py")
    (root / "folder").symlink_to("src")
    assert workspace.read_bytes("link") == b"inside\n"
    assert workspace.read_bytes("folder/a.py") == b"inside\n"
    assert workspace.stat("folder/a.py").path == "src/a.py"
    assert workspace.walk("folder").files == ("src/a.py",)


def test_a_link_to_a_place_that_is_not_readable_opens_nothing(
    workspace: Workspace, root: Path
) -> None:
    (root / "open").mkdir()
    (root / "open" / "link").symlink_to("../src/a.py")
    (root / "open" / "folder").symlink_to("../src")

    def readable(path: str) -> bool:
        return path == "open" or path.startswith("open/")

    assert readable("open/link")
    for path in ("open/link", "open/folder/a.py"):
        with pytest.raises(ToolError):
            workspace.read_bytes(path, readable=readable)
        with pytest.raises(ToolError):
            workspace.sha256(path, readable=readable)
    with pytest.raises(ToolError):
        workspace.walk("open/folder", readable=readable)


@pytest.mark.parametrize(
    "target",
    [
        "../outside/secret.txt",
        "../../{outer}/outside/secret.txt",
        "{tmp}/outside/secret.txt",
        "/proc/self/root{tmp}/outside/secret.txt",
        "/proc/self/cwd/../outside/secret.txt",
        "src/../../outside/secret.txt",
    ],
)
def test_a_link_that_leads_outside_is_never_followed(
    workspace: Workspace, root: Path, tmp_path: Path, target: str
) -> None:
    where = target.format(tmp=tmp_path, outer=tmp_path.name)
    (root / "link").symlink_to(where)
    (root / "folder").symlink_to(Path(where).parent)
    for path in ("link", "folder/secret.txt"):
        with pytest.raises(ToolError):
            workspace.read_bytes(path)
        with pytest.raises(ToolError):
            workspace.write_bytes(path, b"x")
        assert not workspace.exists(path)
    with pytest.raises(ToolError):
        workspace.walk("folder")
    assert (tmp_path / "outside" / "secret.txt").read_text() == "secret\n"


@pytest.mark.skipif(not Path("/proc/self/root").exists(), reason="needs /proc")
def test_magic_links_are_not_followed(opener: Callable[[Path], Dir]) -> None:
    with Workspace(Path("/proc/self"), opener=opener) as workspace:
        for path in ("root/etc/hostname", "cwd/pyproject.toml", "exe", "fd/0"):
            with pytest.raises(ToolError):
                workspace.read_bytes(path)


PARTS = st.sampled_from(
    ["..", ".", "src", "a.py", "link", "out", "abs", "loop", "proc", "deep", "", "~", "secret.txt"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=7), st.sampled_from(["", "/", "{root}/", "{root}/../", "//"]))
def test_no_path_reaches_outside(hostile: Path, parts: list[str], prefix: str) -> None:
    text = prefix.format(root=hostile) + "/".join(parts)
    before = tree(hostile.parent / "outside")
    for opener in OPENERS:
        with Workspace(hostile, opener=opener) as workspace:
            with suppress(ToolError):
                assert b"secret" not in workspace.read_bytes(text)
            with suppress(ToolError):
                assert "only-outside" not in str(workspace.walk(text).entries)
            with suppress(ToolError):
                assert "only-outside" not in str(workspace.glob(f"{text}/*"))
            with suppress(ToolError):
                workspace.write_bytes(f"{text}/new.txt", b"mine")
    assert tree(hostile.parent / "outside") == before


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace full of links, beside a folder with a secret."""
    outer = tmp_path_factory.mktemp("hostile")
    root = outer / "root"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "src" / "a.py").write_text("inside")
    (outer / "outside").mkdir()
    for name in ("secret.txt", "only-outside.txt"):
        (outer / "outside" / name).write_text("secret")
    for folder in (root, root / "src", root / "src" / "deep"):
        (folder / "out").symlink_to(os.path.relpath(outer / "outside", folder))
        (folder / "abs").symlink_to(outer / "outside")
        (folder / "link").symlink_to(os.path.relpath(root / "src", folder))
        (folder / "loop").symlink_to("loop")
        (folder / "proc").symlink_to(f"/proc/self/root{outer}/outside")
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="needs renameat2")
def test_a_folder_swapped_for_a_link_meanwhile_leads_nowhere(
    root: Path, tmp_path: Path, opener: Callable[[Path], Dir]
) -> None:
    (root / "swap").mkdir()
    (root / "swap" / "secret.txt").write_text("harmless\n")
    (root / "evil").symlink_to("../outside")
    libc = ctypes.CDLL(None)
    exchange, here = 2, -100  # RENAME_EXCHANGE, AT_FDCWD
    paths = [os.fsencode(root / name) for name in ("swap", "evil")]
    stop = threading.Event()

    def swapping() -> None:
        while not stop.is_set():
            assert libc.renameat2(here, paths[0], here, paths[1], exchange) == 0

    swapper = threading.Thread(target=swapping)
    swapper.start()
    try:
        with Workspace(root, opener=opener) as workspace:
            for number in range(300):
                with suppress(ToolError):
                    assert workspace.read_bytes("swap/secret.txt") == b"harmless\n"
                if opener is NamedDir:
                    continue  # renames by path only where the system pins folders
                with suppress(ToolError):
                    workspace.write_bytes(f"swap/new{number}", b"x")
    finally:
        stop.set()
        swapper.join()
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret.txt"]


# --- further roots --------------------------------------------------------------------------------


def named(path: Path) -> str:
    """The name of a file outside: a drive of Windows is a folder of `/`."""
    return "/" + path.resolve().as_posix().lstrip("/")


def test_a_further_root_is_read_by_absolute_name_and_never_written(
    root: Path, tmp_path: Path, opener: Callable[[Path], Dir]
) -> None:
    outside = named(tmp_path / "outside")
    with Workspace(root, [tmp_path / "outside"], opener=opener) as workspace:
        name = workspace.name("../outside/secret.txt")
        assert name == f"{outside}/secret.txt"
        assert workspace.name(name) == name
        assert workspace.read_bytes(name) == b"secret\n"
        assert workspace.walk(outside).files == (name,)
        assert workspace.glob(f"{outside}/*.txt") == (name,)
        with pytest.raises(ToolError, match="only read"):
            workspace.write_bytes(name, b"x")
        with pytest.raises(ToolError, match="outside"):
            workspace.name(str(tmp_path))


def test_a_file_as_a_further_root_opens_its_folder(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "outside" / "secret.txt"
    with Workspace.open(root, [secret]) as workspace:
        assert workspace.read_bytes(str(secret)) == b"secret\n"


def test_the_workspace_keeps_its_names_inside_a_further_root(root: Path, tmp_path: Path) -> None:
    (root / ".gitignore").write_text("ignored\n")
    (root / "ignored").write_text("x")
    with Workspace.open(root, [tmp_path]) as workspace:
        files = workspace.walk(str(tmp_path)).files
    assert files == (
        f"{named(tmp_path)}/outside/secret.txt",
        ".gitignore",
        "src/a.py",
    )


# --- walking --------------------------------------------------------------------------------------


def plant(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")


def test_a_walk_is_sorted_and_without_git_and_ignored_files(
    workspace: Workspace, root: Path
) -> None:
    plant(root, "b/2", "b/10", "a.txt", ".git/config", "sub/.git/config", "build/x", "n/build/y")
    plant(root, "keep.log", "x.log", "n/z.tmp", "n/a.tmp")
    (root / ".gitignore").write_text("# made\nbuild/\n*.log\n!keep.log\n")
    (root / "n" / ".gitignore").write_text("*.tmp\n!a.tmp\n")
    files = workspace.walk().files
    assert files == (
        ".gitignore",
        "a.txt",
        "b/10",
        "b/2",
        "keep.log",
        "n/.gitignore",
        "n/a.tmp",
        "src/a.py",
    )
    assert workspace.walk("n").files == ("n/.gitignore", "n/a.tmp")
    assert workspace.walk("build").files == ("build/x",)
    assert "build/x" in workspace.walk(ignore=False).files
    assert not any(".git/" in name for name in workspace.walk(ignore=False).files)


def test_a_walk_keeps_its_bounds(workspace: Workspace, root: Path) -> None:
    plant(root, *(f"d{number}/f" for number in range(10)))
    assert workspace.walk().complete
    cut = workspace.walk(limit=5)
    assert not cut.complete
    assert len(cut.entries) == 5
    shallow = workspace.walk(depth=1)
    assert shallow.complete
    assert {entry.kind for entry in shallow.entries} == {"folder"}


def test_a_walk_shows_links_and_enters_none(workspace: Workspace, root: Path) -> None:
    (root / "out").symlink_to("../outside")
    (root / "self").symlink_to(".")
    kinds = {entry.path: entry.kind for entry in workspace.walk().entries}
    assert kinds == {"out": "link", "self": "link", "src": "folder", "src/a.py": "file"}


def test_a_walk_leaves_out_what_is_not_readable(workspace: Workspace, root: Path) -> None:
    plant(root, "secret/a", "src/b")
    found = workspace.walk(readable=lambda path: not path.startswith("secret"))
    assert found.files == ("src/a.py", "src/b")
    with pytest.raises(ToolError, match="no grant"):
        workspace.walk("secret", readable=lambda path: not path.startswith("secret"))


def test_a_walk_of_a_file_is_the_file(workspace: Workspace) -> None:
    assert workspace.walk("src/a.py").files == ("src/a.py",)
    with pytest.raises(ToolError, match="no such file"):
        workspace.walk("nothing")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs names of any bytes")
def test_names_that_are_no_text_are_counted_and_left_out(workspace: Workspace, root: Path) -> None:
    (root / os.fsdecode(b"bad\xff")).write_text("x")
    found = workspace.walk()
    assert found.files == ("src/a.py",)
    assert found.unnamed == 1
    assert found.unnamed_paths == ("bad\\xff",)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs names of any bytes")
def test_names_that_are_no_text_are_told_where_they_may_be_read(
    workspace: Workspace, root: Path
) -> None:
    plant(root, "secret/a")
    for folder in ("secret", "src"):
        (root / folder / os.fsdecode(b"bad\xff")).write_text("x")
    found = workspace.walk(readable=lambda path: not path.startswith("secret"))
    assert (found.unnamed, found.unnamed_paths) == (1, ("src/bad\\xff",))


def test_a_walk_ends_when_it_is_told_to(workspace: Workspace) -> None:
    def tick() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        workspace.walk(tick=tick)


# --- globs ----------------------------------------------------------------------------------------


def test_globs_match_by_component(workspace: Workspace, root: Path) -> None:
    plant(root, "r/a.md", "r/b.md", "r/c.txt", "r/x/d.md", "r/.h.md", "ignored/e.md", ".git/g.md")
    (root / ".gitignore").write_text("ignored\n")
    (root / "r" / "link.md").symlink_to("a.md")
    assert workspace.glob("r/*.md") == ("r/.h.md", "r/a.md", "r/b.md")
    assert workspace.glob("r/[ab].md") == ("r/a.md", "r/b.md")
    assert workspace.glob("**/?.md") == ("ignored/e.md", "r/a.md", "r/b.md", "r/x/d.md")
    assert workspace.glob("r/**") == ("r/.h.md", "r/a.md", "r/b.md", "r/c.txt", "r/x/d.md")
    assert workspace.glob("r/a.md") == ("r/a.md",)
    assert workspace.glob("nothing/*.md") == ()
    for pattern in ("../*", "/etc/*", "r/[a", ""):
        with pytest.raises(ToolError):
            workspace.glob(pattern)


# --- writing --------------------------------------------------------------------------------------


def test_a_new_file_is_written_with_its_folders(workspace: Workspace, root: Path) -> None:
    made = workspace.write_bytes("new/deep/file.txt", b"data", "absent")
    assert (made.action, made.bytes, made.sha256) == ("created", 4, sha256(b"data"))
    assert (root / "new" / "deep" / "file.txt").read_bytes() == b"data"
    assert list(tree(root)) == ["new/deep/file.txt", "src/a.py"]


def test_a_file_is_replaced_only_if_it_is_the_expected_one(
    workspace: Workspace, root: Path
) -> None:
    with pytest.raises(ToolError, match="exists"):
        workspace.write_bytes("src/a.py", b"new", "absent")
    with pytest.raises(ToolError, match="read it again"):
        workspace.write_bytes("src/a.py", b"new", sha256(b"other"))
    with pytest.raises(ToolError, match="no such file"):
        workspace.write_bytes("src/b.py", b"new", sha256(b"other"))
    assert tree(root) == {"src/a.py": b"inside\n"}
    made = workspace.write_bytes("src/a.py", b"new", sha256(b"inside\n").upper())
    assert made.action == "replaced"
    assert tree(root) == {"src/a.py": b"new"}


def test_a_refusal_does_not_tell_what_is_there(workspace: Workspace) -> None:
    for expect in ("absent", sha256(b"other")):
        with pytest.raises(ToolError) as caught:
            workspace.write_bytes("src/a.py", b"new", expect)
        assert sha256(b"inside\n") not in str(caught.value)


def test_what_is_already_so_is_left_alone(workspace: Workspace, root: Path) -> None:
    before = (root / "src" / "a.py").stat()
    assert workspace.write_bytes("src/a.py", b"inside\n", "absent").action == "unchanged"
    assert workspace.change([Change("gone/file", None)])[0].action == "unchanged"
    after = (root / "src" / "a.py").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_a_replaced_file_keeps_its_mode_and_no_special_bit(
    workspace: Workspace, root: Path
) -> None:
    path = root / "src" / "a.py"
    path.chmod(0o4751)
    workspace.write_bytes("src/a.py", b"new")
    assert path.stat().st_mode & 0o7777 == 0o751
    path.chmod(0o444)
    with pytest.raises(ToolError, match="read-only"):
        workspace.write_bytes("src/a.py", b"newer")


@pytest.mark.parametrize(
    "path", [".git/config", "src/.git/x", ".GIT/x", "a/.Git", ".g\u200cit/x", "GIT~1/x", "."]
)
def test_the_folder_of_git_and_the_workspace_itself_are_not_written(
    workspace: Workspace, path: str
) -> None:
    with pytest.raises(ToolError, match="cannot change"):
        workspace.write_bytes(path, b"x")


def test_nothing_is_written_through_or_over_a_link(workspace: Workspace, root: Path) -> None:
    (root / "link").symlink_to("src/a.py")
    (root / "dangling").symlink_to("src/new.py")
    (root / "folder").symlink_to("src")
    for path in ("link", "dangling", "folder/a.py", "folder/new.py"):
        with pytest.raises(ToolError, match="symbolic link"):
            workspace.write_bytes(path, b"x")
    with pytest.raises(ToolError, match="symbolic link"):
        workspace.change([Change("link", None)])
    assert tree(root) == {"src/a.py": b"inside\n"}


def test_several_files_change_together_or_not_at_all(workspace: Workspace, root: Path) -> None:
    plant(root, "b", "c")
    before = tree(root)
    good = [Change("src/a.py", b"new"), Change("b", None), Change("n/d", b"d", "absent")]
    with pytest.raises(ToolError):
        workspace.change([*good, Change("c", b"other", "absent")])
    with pytest.raises(ToolError, match="twice"):
        workspace.change([*good, Change("./b", b"x")])
    assert tree(root) == before
    assert not (root / "n").exists()
    actions = [made.action for made in workspace.change(good)]
    assert actions == ["replaced", "deleted", "created"]
    assert tree(root) == {"src/a.py": b"new", "c": b"x", "n/d": b"d"}


class _FailingDir(StepwiseDir):
    """Renames a few times, then the disk is gone."""

    renames_left = 0

    def replace(self, old: str, new: str) -> None:
        if new != "last":
            return super().replace(old, new)
        raise OSError(errno.EIO, "the disk is gone")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX folders")
def test_an_error_in_the_middle_puts_back_what_was_changed(root: Path) -> None:
    plant(root, "first", "gone", "last")
    before = tree(root)
    changes = [
        Change("first", b"new"),
        Change("gone", None),
        Change("made/x", b"new", "absent"),
        Change("last", b"new"),
    ]
    with Workspace(root, opener=_FailingDir.open) as workspace, pytest.raises(ToolError):
        workspace.change(changes)
    assert tree(root) == before
    assert not (root / "made").exists()


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as it refuses them on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_takes_no_more_leaves_nothing_behind(workspace: Workspace, root: Path) -> None:
    before = tree(root)
    with _file_size_limit(1000), pytest.raises(ToolError, match="nothing was changed"):
        workspace.change([Change("src/a.py", b"small"), Change("new/big", b"x" * 100_000)])
    assert tree(root) == before
    assert [path.name for path in root.iterdir()] == ["src"]


def test_of_many_writers_of_a_new_file_exactly_one_makes_it(root: Path) -> None:
    outcomes: list[str] = []

    def write(number: int) -> None:
        with Workspace.open(root) as workspace:
            try:
                outcomes.append(workspace.write_bytes("one", b"%d" % number, "absent").action)
            except ToolError:
                outcomes.append("refused")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(outcomes) == ["created", *["refused"] * 7]


def test_of_many_writers_who_saw_the_same_file_exactly_one_replaces_it(root: Path) -> None:
    seen = sha256(b"inside\n")
    outcomes: list[str] = []

    def write(number: int) -> None:
        with Workspace.open(root) as workspace:
            try:
                outcomes.append(workspace.write_bytes("src/a.py", b"%d" % number, seen).action)
            except ToolError:
                outcomes.append("refused")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(outcomes) == sorted(["replaced", *["refused"] * 7])


BYTES = st.binary(max_size=50)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "d/e"]), st.none() | BYTES), max_size=8))
def test_files_are_what_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, bytes | None]]
) -> None:
    root = tmp_path_factory.mktemp("writes")
    expected: dict[str, bytes] = {}
    with Workspace.open(root) as workspace:
        for path, data in writes:
            was = expected.get(path)
            workspace.change([Change(path, data, "absent" if was is None else sha256(was))])
            if data is None:
                expected.pop(path, None)
            else:
                expected[path] = data
            assert tree(root) == dict(sorted(expected.items()))


def test_the_strongest_way_of_this_system_is_used(root: Path) -> None:
    expected = KernelDir if kernel_resolves() else StepwiseDir
    if sys.platform == "win32":
        expected = NamedDir
    folder = open_dir(root)
    assert type(folder) is expected
    folder.close()
