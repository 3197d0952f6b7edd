"""What other systems offer, as far as it can be shown here: profiles, rules, layouts, refusals."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, ProcessLimits
from sashizu_sandbox import jobs
from sashizu_sandbox.landlock.rules import LIST, READ, WRITE, rules_of
from sashizu_sandbox.nothing import open_nothing
from sashizu_sandbox.offers import sandbox_specs
from sashizu_sandbox.seatbelt import profile_of

ENVIRON = "import os; print(sorted(os.environ))"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path.resolve() / "work space"
    for path in ("a/b/file", "a/other", "c/file", ".env"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).touch()
    return place


# --- macOS ----------------------------------------------------------------------------------------


def test_a_profile_denies_all_but_what_was_granted(place: Path) -> None:
    profile = profile_of(
        Confinement(
            place,
            readable=(place / "c",),
            writable=(place,),
            protected=(place / "a/b/file",),
            hidden=(place / ".env",),
        )
    )
    lines = profile.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    granted = lines.index(f'(allow file-read* file-write* (subpath "{place}"))')
    kept = lines.index(f'(deny file-write* (subpath "{place}/a/b/file"))')
    hidden = lines.index(f'(deny file-read* file-write* (subpath "{place}/.env"))')
    assert granted < kept < hidden, "the last rule that fits counts"
    assert (
        f'(deny file-write-unlink (literal "{place}") (literal "{place}/a") '
        f'(literal "{place}/a/b"))' in lines
    )
    assert "network" not in profile
    assert profile.count("(") == profile.count(")")


def test_without_grants_a_profile_has_no_empty_rules() -> None:
    lines = profile_of(Confinement(Path("/"))).splitlines()
    assert "(allow file-read*)" not in lines
    assert not [line for line in lines if "file-write*" in line]


def test_a_path_cannot_add_rules_to_a_profile() -> None:
    evil = Path('/x") (subpath "/y')
    profile = profile_of(Confinement(Path("/"), readable=(evil,)))
    assert '(subpath "/x\\") (subpath \\"/y")' in profile
    with pytest.raises(SandboxError, match="control characters"):
        profile_of(Confinement(Path("/"), readable=(Path("/x\n(allow default)"),)))


# --- Landlock -------------------------------------------------------------------------------------


def granted(place: Path, confinement: Confinement) -> dict[str, int]:
    rights: dict[str, int] = {}
    for path, right in rules_of(confinement):
        if Path(path).is_relative_to(place):
            name = os.path.relpath(path, place)
            rights[name] = rights.get(name, 0) | right
    return rights


def test_rules_grant_what_was_granted(place: Path) -> None:
    confinement = Confinement(place, readable=(place / "c",), writable=(place / "a",))
    assert granted(place, confinement) == {"c": READ, "a": WRITE}


def test_beside_what_is_protected_only_what_exists_can_be_written(place: Path) -> None:
    confinement = Confinement(place, writable=(place,), protected=(place / "a/b",))
    assert granted(place, confinement) == {
        ".": READ,
        "a": LIST,
        "a/other": WRITE,
        "c": WRITE,
        ".env": WRITE,
    }


def test_what_is_hidden_is_not_granted_in_any_way(place: Path) -> None:
    confinement = Confinement(place, readable=(place,), hidden=(place / ".env",))
    assert granted(place, confinement) == {".": LIST, "a": READ, "c": READ}


def test_what_is_protected_and_absent_cannot_be_made(place: Path) -> None:
    confinement = Confinement(place, writable=(place,), protected=(place / "new/deep",))
    assert not granted(place, confinement)["."] & WRITE & ~READ


def test_links_are_not_followed_to_grant_what_they_mean(place: Path, tmp_path: Path) -> None:
    (place / "out").symlink_to(tmp_path)
    confinement = Confinement(place, readable=(place,), hidden=(place / ".env",))
    assert "out" not in granted(place, confinement)
    assert str(tmp_path.resolve()) not in dict(rules_of(confinement))


# --- Windows --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.maxsize < 2**32, reason="the layout is that of 64 bits")
def test_the_limits_of_a_job_have_the_layout_of_windows() -> None:
    assert ctypes.sizeof(jobs.ExtendedLimits) == 144
    assert jobs.ExtendedLimits.io.offset == 64
    assert jobs.ExtendedLimits.process_memory.offset == 112


def test_the_limits_of_a_job_are_those_asked_for() -> None:
    wanted = jobs.extended_limits(ProcessLimits(cpu_s=3, memory_bytes=1000, processes=5))
    assert wanted.basic.process_time == 30_000_000
    assert (wanted.basic.active_processes, wanted.process_memory) == (5, 1000)
    assert wanted.basic.flags & 0x2000, "what is in it ends when it is closed"


def test_a_job_is_no_sandbox_and_says_what_to_do() -> None:
    info = jobs.probe_jobs()
    assert info.kind == "none"
    assert "WSL" in info.remedy
    with pytest.raises(SandboxError, match="neither files nor connections"):
        jobs.open_jobs()


# --- nothing --------------------------------------------------------------------------------------


async def test_without_a_sandbox_programs_still_get_only_their_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "secret")
    confinement = Confinement(tmp_path, environment={"NAME": "x"})
    async with (
        open_nothing() as nothing,
        nothing.start([sys.executable, "-c", ENVIRON], confinement) as process,
    ):
        said = b"".join([data async for data in process.stdout]).decode()
        assert await process.wait() == 0
    assert nothing.info.kind == "none"
    assert "NAME" in said
    assert "A_SECRET" not in said


async def test_the_sandbox_runtime_is_known_on_windows_and_not_relied_upon() -> None:
    specs = {spec.name: spec for spec in sandbox_specs("win32")}
    info = specs["srt"].probe()
    assert (info.kind, info.reason.split(":")[0]) == ("none", "unsupported")
    async with specs["srt"].open() as sandbox:
        with pytest.raises(SandboxError, match="unsupported"):
            sandbox.start(["/bin/true"], Confinement(Path("/")))
