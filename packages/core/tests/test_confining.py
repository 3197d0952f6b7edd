"""What programs may touch follows from the effective permission, and from nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.errors import SandboxError
from sashizu_core.grants import Grants, Rule, Subject
from sashizu_core.runtime import confining
from sashizu_core.runtime.confining import Confining, confinement_of
from sashizu_core.sandboxing import Confinement, check_links
from sashizu_core.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workspace]:
    for name in (
        "src/a.py",
        "src/.env",
        "src/deep/key.pem",
        "out/x",
        ".git/config",
        "docs/a.md",
        "pkg/AGENTS.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", "utf-8")
    with Workspace.open(tmp_path) as workspace:
        yield workspace


def confined(place: Workspace, *chain: Grants) -> Confinement:
    return confinement_of(place, Subject("id", "a", chain))


def names(place: Workspace, paths: tuple[Path, ...]) -> set[str]:
    return {path.relative_to(place.root).as_posix() for path in paths}


def test_only_what_is_granted_is_shown(place: Workspace) -> None:
    held = confined(place, Grants(fs_read=("docs", "src"), fs_write=("out",)))
    assert names(place, held.readable) == {"docs", "src"}
    assert held.writable == ()  # it may not read there, and a program cannot be held to that


def test_what_may_be_written_is_what_may_be_read_too(place: Workspace) -> None:
    held = confined(place, Grants(fs_read=(".",), fs_write=("out",)))
    assert names(place, held.readable) == {"."}
    assert names(place, held.writable) == {"out"}


def test_secrets_are_hidden_unless_they_are_named(place: Workspace) -> None:
    held = confined(place, Grants(fs_read=(".",)))
    assert names(place, held.hidden) == {"src/.env", "src/deep/key.pem"}
    named = confined(place, Grants(fs_read=(".", "src/.env")))
    assert names(place, named.hidden) == {"src/deep/key.pem"}


def test_protected_files_stay_as_they_are_also_where_there_are_none(place: Workspace) -> None:
    held = confined(place, Grants(fs_read=(".",), fs_write=(".",)))
    assert {".git", ".github", "AGENTS.md"} <= names(place, held.protected)
    assert "pkg/AGENTS.md" in names(place, held.protected)  # found where it is
    named = confined(place, Grants(fs_read=(".",), fs_write=(".", ".github")))
    assert ".github" not in names(place, named.protected)


def test_a_ceiling_bounds_programs_too(place: Workspace) -> None:
    ceiling, own = Grants(fs_read=("src",)), Grants(fs_read=(".",), fs_write=(".",))
    held = confined(place, ceiling, own)
    assert names(place, held.readable) == {"src"}
    assert held.writable == ()


@pytest.mark.parametrize("verdict", ["deny", "ask"])
def test_what_a_rule_denies_or_asks_for_no_program_touches(place: Workspace, verdict: str) -> None:
    rules = (Rule(verdict, "read", "docs"), Rule(verdict, "write", "out"))  # type: ignore[arg-type]
    held = confined(place, Grants(fs_read=(".",), fs_write=(".",), rules=rules))
    assert "docs" in names(place, held.hidden)
    assert "out" in names(place, held.protected)
    everywhere = (Rule(verdict, "write", "*"),)  # type: ignore[arg-type]
    held = confined(place, Grants(fs_read=(".",), fs_write=(".",), rules=everywhere))
    assert held.writable == ()


def test_a_link_is_not_followed_for_what_lies_behind_it(place: Workspace, tmp_path: Path) -> None:
    (tmp_path / "docs/loop").symlink_to(tmp_path)
    held = confined(place, Grants(fs_read=("docs",)))
    assert held.hidden == ()


def test_too_many_files_to_look_at_refuse_every_program(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confining, "MOST_ENTRIES", 3)
    with pytest.raises(SandboxError, match="more than 3 files"):
        confined(place, Grants(fs_read=(".",)))


def test_nothing_is_granted_to_nobody(place: Workspace) -> None:
    held = confined(place)
    assert (held.readable, held.writable) == ((), ())


def test_a_granted_path_that_a_link_leads_away_from_is_not_shown(
    place: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    victim = tmp_path_factory.mktemp("victim")
    (place.root / "away").symlink_to(victim)
    (victim / "inner").mkdir()
    for grant in ("away", "away/inner"):
        held = confined(place, Grants(fs_read=("docs", grant), fs_write=(grant,)))
        assert names(place, held.readable) == {"docs"}
        assert held.writable == ()


def test_a_granted_path_that_becomes_a_link_holds_no_program_any_more(
    place: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held = confined(place, Grants(fs_read=("out",), fs_write=("out",)))
    check_links(held)
    (place.root / "out").rename(place.root / "old")
    (place.root / "out").symlink_to(tmp_path_factory.mktemp("victim"))
    with pytest.raises(SandboxError, match="a symbolic link leads there now"):
        check_links(held)


def test_what_is_not_of_the_workspace_is_for_whoever_may_read_all_of_it(place: Workspace) -> None:
    store = Path("/somewhere/.git")
    whole = Subject("id", "a", (Grants(fs_read=(".",)),))
    held = Confining(place, whole, [store])()
    assert store in held.readable
    part = Subject("id", "a", (Grants(fs_read=("src",)),))
    assert store not in Confining(place, part, [store])().readable
    assert store in confinement_of(place, part, [store]).readable  # asked for by the operator


def test_what_comes_up_later_is_hidden_and_protected_for_the_next_program(place: Workspace) -> None:
    subject = Subject("id", "a", (Grants(fs_read=(".",), fs_write=(".",)),))
    confining = Confining(place, subject)
    before = confining()
    assert confining() == before
    (place.root / "clone" / ".git").mkdir(parents=True)
    (place.root / "docs" / ".env").write_text("late", "utf-8")
    (place.root / "src" / ".env").unlink()
    after = confining()
    assert "docs/.env" in names(place, after.hidden)
    assert "src/.env" not in names(place, after.hidden)
    assert "clone/.git" in names(place, after.protected)


def test_a_folder_that_has_not_changed_is_not_looked_at_again(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confining, "SETTLED_NS", -1)
    looks: list[Path] = []
    real = confining._entries

    def counted(folder: Path) -> Any:
        looks.append(folder)
        return real(folder)

    monkeypatch.setattr(confining, "_entries", counted)
    again = Confining(place, Subject("id", "a", (Grants(fs_read=(".",)),)))
    again()
    first = len(looks)
    again()
    assert len(looks) == first > 3


def test_what_leads_to_another_program_is_not_shown(place: Workspace) -> None:
    os.mkfifo(place.root / "docs" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.root / "docs" / "s"))
    held = confined(place, Grants(fs_read=("docs",)))
    assert names(place, held.hidden) == {"docs/pipe", "docs/s"}
