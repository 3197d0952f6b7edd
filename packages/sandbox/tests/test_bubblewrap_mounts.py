"""What a confinement becomes: mounts in the right order, and arguments without anything of ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement

if sys.platform != "linux":
    pytest.skip("bubblewrap is for Linux", allow_module_level=True)

from sashizu_sandbox.bubblewrap.arguments import EMPTY_FD, arguments_of, stage_name
from sashizu_sandbox.bubblewrap.mounts import Mount, mounts_of


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with folders and files, as a real path."""
    place = tmp_path.resolve() / "workspace"
    for path in ("a/b/file", "a/other", "c/file", "top"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).touch()
    return place


def seen(place: Path, mounts: list[Mount]) -> list[tuple[str, str]]:
    return [(mount.kind, os.path.relpath(mount.path, place)) for mount in mounts]


def confined(place: Path, **paths: tuple[str, ...]) -> list[tuple[str, str]]:
    given_paths = {name: tuple(place / path for path in some) for name, some in paths.items()}
    return seen(place, mounts_of(Confinement(place, **given_paths)))  # type: ignore[arg-type]


def test_folders_on_the_way_to_what_is_protected_cannot_be_renamed(place: Path) -> None:
    assert confined(place, writable=(".",), protected=("a/b/file",)) == [
        ("write", "."),
        ("pin", "a"),
        ("pin", "a/b"),
        ("protect", "a/b/file"),
    ]


def test_nor_on_the_way_to_what_is_hidden(place: Path) -> None:
    assert confined(place, writable=(".",), hidden=("a/b", "c/file")) == [
        ("write", "."),
        ("pin", "a"),
        ("pin", "c"),
        ("hide-folder", "a/b"),
        ("hide-file", "c/file"),
    ]


def test_what_is_absent_is_guarded_at_its_first_missing_folder(place: Path) -> None:
    assert confined(place, writable=(".",), protected=("a/new/deep/file",)) == [
        ("write", "."),
        ("pin", "a"),
        ("guard", "a/new"),
    ]


def test_roots_in_other_roots_are_shown_once(place: Path) -> None:
    assert confined(place, writable=(".", "a"), readable=("a/b", "c")) == [("write", ".")]
    assert confined(place, writable=("a/b",), readable=(".", "a")) == [
        ("read", "."),
        ("write", "a/b"),
    ]


def test_what_is_protected_and_hidden_is_hidden(place: Path) -> None:
    found = confined(place, writable=(".",), protected=("a", "a/b"), hidden=("a/b",))
    assert found == [("write", "."), ("protect", "a"), ("hide-folder", "a/b")]


def test_nothing_lies_in_what_is_hidden(place: Path) -> None:
    found = confined(place, writable=(".",), protected=("a/b/file",), hidden=("a",))
    assert found == [("write", "."), ("hide-folder", "a")]


def test_a_root_in_what_is_protected_or_hidden_is_so_too(place: Path) -> None:
    assert confined(place, writable=("a/b",), protected=("a",)) == [("protect", "a/b")]
    assert confined(place, readable=("a/b",), hidden=("a",)) == [("hide-folder", "a/b")]


def test_roots_that_are_absent_are_left_out(place: Path) -> None:
    assert confined(place, writable=("absent",), readable=("gone", "c")) == [("read", "c")]


def test_where_nothing_can_be_written_nothing_needs_protection(place: Path) -> None:
    assert confined(place, readable=(".",), protected=("a/b", "absent")) == [("read", ".")]


def test_a_link_in_a_folder_makes_the_folder_read_only(place: Path) -> None:
    (place / "a/b/link").symlink_to(place / "c/file")
    assert confined(place, writable=(".",), protected=("a/b/link",)) == [
        ("write", "."),
        ("pin", "a"),
        ("pin", "c"),
        ("protect", "a/b"),
        ("protect", "c/file"),
    ]


def test_a_link_on_the_way_does_so_too(place: Path) -> None:
    (place / "a/link").symlink_to("b")
    assert confined(place, writable=(".",), protected=("a/link/file",)) == [
        ("write", "."),
        ("protect", "a"),
    ]


def test_a_link_at_the_top_of_a_root_is_an_error(place: Path) -> None:
    (place / "link").symlink_to("top")
    with pytest.raises(SandboxError, match=r"link.*symbolic link"):
        confined(place, writable=(".",), protected=("link",))


def test_what_a_hidden_link_means_is_hidden(place: Path) -> None:
    (place / "link").symlink_to("a")
    assert confined(place, readable=(".",), hidden=("link/b",)) == [
        ("read", "."),
        ("hide-folder", "a/b"),
    ]


def test_a_root_that_is_a_link_is_shown_at_both_names(place: Path) -> None:
    link = place.with_name("link")
    link.symlink_to(place)
    mounts = mounts_of(Confinement(link, writable=(link,), protected=(link / "top",)))
    assert [(mount.kind, mount.path) for mount in mounts] == [
        ("link", link),
        ("write", place),
        ("protect", place / "top"),
    ]
    assert mounts[0].target == place


def test_links_in_a_circle_hide_nothing_and_do_not_hang(place: Path) -> None:
    (place / "one").symlink_to("two")
    (place / "two").symlink_to("one")
    assert confined(place, readable=(".",), hidden=("one/x",)) == [("read", ".")]


@given(st.data())
def test_parents_come_before_children_and_every_path_once(data: st.DataObject) -> None:
    names = st.sampled_from(["bin", "lib", "share", "share/doc", "lib/python3", "nothing", "a/b"])
    some = st.lists(names.map(lambda name: Path("/usr") / name), max_size=4).map(tuple)
    confinement = Confinement(
        Path("/usr"),
        readable=data.draw(some),
        hidden=data.draw(some),
        protected=data.draw(some),
    )
    paths = [mount.path for mount in mounts_of(confinement)]
    assert len(set(paths)) == len(paths)
    for at, path in enumerate(paths):
        assert not any(later in path.parents for later in paths[at:])


def words(confinement: Confinement, stage: Path | None = None) -> list[str]:
    mounts = mounts_of(confinement)
    return list(arguments_of(confinement, mounts, identity=(7, 8), stage=stage).words)


def test_everything_that_can_be_unshared_is(place: Path) -> None:
    found = words(Confinement(place, readable=(place,)))
    for word in ("user", "pid", "net", "ipc", "uts"):
        assert f"--unshare-{word}" in found
    for word in ("--disable-userns", "--die-with-parent", "--new-session", "--clearenv"):
        assert word in found
    assert found[found.index("--cap-drop") + 1] == "ALL"
    assert found[found.index("--uid") + 1 : found.index("--uid") + 4] == ["7", "--gid", "8"]


def test_what_is_left_of_our_own_file_systems_is_read_only(place: Path) -> None:
    found = words(Confinement(place, writable=(place,)))
    last_mount = max(at for at, word in enumerate(found) if word in ("--bind", "--tmpfs"))
    assert found.index("--remount-ro") > last_mount
    assert [found[at + 1] for at, word in enumerate(found) if word == "--remount-ro"] == [
        "/dev",
        "/",
    ]


def test_nothing_of_etc_holds_passwords_or_names_of_hosts_to_ask(place: Path) -> None:
    found = words(Confinement(place, readable=(place,)))
    assert not {"/etc", "/etc/shadow", "/etc/sudoers", "/etc/resolv.conf", "/run", "/home"} & {
        *found
    }


def test_with_a_stage_all_roots_come_from_it(place: Path) -> None:
    confinement = Confinement(
        place, writable=(place,), readable=(Path("/opt"),), protected=(place / "a/b",)
    )
    found = words(confinement, Path("/stage"))
    binds = [found[at + 1 : at + 3] for at, word in enumerate(found) if word == "--bind"]
    name = stage_name(place)
    assert [f"/stage/{name}", str(place)] in binds
    assert [f"/stage/{name}/a", str(place / "a")] in binds
    assert str(place) not in [source for source, _ in binds]


def test_a_root_that_is_protected_as_a_whole_comes_from_the_stage_too(place: Path) -> None:
    confinement = Confinement(place, writable=(place / "a/b",), protected=(place / "a",))
    found = words(confinement, Path("/stage"))
    source = f"/stage/{stage_name(place / 'a/b')}"
    at = found.index(source)
    assert found[at - 1 : at + 2] == ["--ro-bind", source, str(place / "a/b")]


def test_each_hidden_file_has_a_descriptor_of_its_own(place: Path) -> None:
    found = words(Confinement(place, readable=(place,), hidden=(place / "top", place / "c/file")))
    assert found.count(EMPTY_FD) == 2
