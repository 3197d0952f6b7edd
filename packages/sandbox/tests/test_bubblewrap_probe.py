"""What is said where no sandbox can be made: the reason, and what a person can do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from sashizu_core.settings import Settings
from sashizu_sandbox.offers import sandbox_specs
from sashizu_sandbox.plugin import register_sandboxes

if sys.platform != "linux":
    pytest.skip("bubblewrap is for Linux", allow_module_level=True)

from sashizu_sandbox.bubblewrap import probe, program
from sashizu_sandbox.bubblewrap.probe import Surroundings, look_around, remedy
from sashizu_sandbox.bubblewrap.program import BubblewrapProgram

USER = Surroundings()


@pytest.mark.parametrize(
    ("surroundings", "words"),
    [
        (replace(USER, namespaces_off=True), "user.max_user_namespaces=15000"),
        (replace(USER, namespaces_off=True, root=True), "user.max_user_namespaces=15000"),
        (replace(USER, clone_off=True), "kernel.unprivileged_userns_clone=1"),
        (replace(USER, apparmor_restricts=True), "bwrap-userns-restrict"),
        (replace(USER, in_container=True), "--security-opt seccomp=unconfined"),
        (replace(USER, root=True, clone_off=True, in_container=True), "--security-opt"),
    ],
)
def test_each_obstacle_has_its_remedy(surroundings: Surroundings, words: str) -> None:
    assert words in remedy(surroundings)


def test_where_nothing_is_known_nothing_is_advised() -> None:
    assert remedy(USER) == ""


def test_surroundings_are_read_from_the_system(tmp_path: Path) -> None:
    for path, text in {
        "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "proc/sys/user/max_user_namespaces": "0\n",
        "proc/sys/kernel/unprivileged_userns_clone": "0\n",
        ".dockerenv": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = look_around(tmp_path)
    assert replace(found, root=False) == Surroundings(False, True, True, True, True)
    assert replace(look_around(tmp_path / "empty"), root=False) == USER


def test_without_bubblewrap_the_probe_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "find_bubblewrap", lambda: None)
    info = probe.probe_bubblewrap()
    assert (info.kind, info.reason) == ("none", "there is no bubblewrap")
    assert "apt install bubblewrap" in info.remedy
    assert "sashizu-sandbox[bubblewrap]" in info.remedy


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo bwrap: setting up uid map: Permission denied >&2; exit 1", "setting up uid map"),
        ("exit 1", "ended with 1"),
    ],
)
def test_a_program_that_holds_nothing_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    tmp_path.chmod(0o755)
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    from sashizu_sandbox.bubblewrap import sandbox

    found = BubblewrapProgram(fake, (tmp_path,))
    monkeypatch.setattr(probe, "find_bubblewrap", lambda: found)
    monkeypatch.setattr(sandbox, "find_bubblewrap", lambda: found)
    info = probe.probe_bubblewrap()
    assert info.kind == "none"
    assert reason in info.reason


@pytest.mark.sandbox
async def test_the_probe_can_be_called_where_a_loop_runs_already() -> None:
    info = probe.probe_bubblewrap()
    if info.kind == "none":
        pytest.skip(f"no sandbox can be had: {info.reason}; {info.remedy}")
    assert info == await anyio.to_thread.run_sync(probe.probe_bubblewrap)


def test_path_has_no_say_in_which_bubblewrap_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    program.find_bubblewrap.cache_clear()
    found = program.find_bubblewrap()
    assert found is None or found.path != fake


def test_what_is_offered_depends_on_the_platform() -> None:
    offered = {
        platform: [spec.name for spec in sandbox_specs(platform)]
        for platform in ("linux", "darwin", "win32", "plan9")
    }
    assert offered == {
        "linux": ["bubblewrap", "landlock", "none"],
        "darwin": ["seatbelt", "none"],
        "win32": ["srt", "windows-job", "none"],
        "plan9": ["none"],
    }
    assert [spec.name for spec in register_sandboxes(Settings())] == offered[sys.platform]


def test_the_one_that_holds_nothing_says_so_and_comes_last() -> None:
    *others, last = sandbox_specs("linux")
    assert last.probe().kind == "none"
    assert all(spec.rank < last.rank for spec in others)
