"""Nobody gets at the host by putting a link where something is about to be shown."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement

if sys.platform != "linux":
    pytest.skip("bubblewrap is for Linux", allow_module_level=True)

from sashizu_sandbox.bubblewrap.probe import probe_bubblewrap
from sashizu_sandbox.bubblewrap.sandbox import Bubblewrap, open_bubblewrap
from sashizu_sandbox.bubblewrap.sources import Source, close_all, open_sources

ENOUGH_S = 0.5
"""How long a race is run: some hundred starts in all of the races."""

AT_MOST_S = 20.0
"""How long until one of them must have come at a moment without a link."""


@pytest.fixture(params=["by descriptor", "compared after the mount"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Bubblewrap]:
    info = probe_bubblewrap()
    if info.kind != "enforced":
        pytest.skip(f"no sandbox can be had: {info.reason}; {info.remedy}")
    async with open_bubblewrap() as sandbox:
        if request.param != "by descriptor":
            sandbox._descriptors = False
        elif not sandbox._descriptors:
            pytest.skip("this bubblewrap cannot show what a descriptor stands for")
        yield sandbox


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of the host that everybody can read, and of which nothing was granted."""
    with TemporaryDirectory() as folder:
        outside = Path(folder).resolve()
        outside.chmod(0o755)
        (outside / "notes").write_text("HOST\n")
        (outside / "notes").chmod(0o644)
        yield outside


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path.resolve() / "workspace"
    for folder in (place / "sub", place / "way"):
        folder.mkdir(parents=True)
        (folder / "notes").write_text("ours\n")
    return place


def confined(place: Path, **paths: tuple[Path, ...]) -> Confinement:
    return Confinement(
        place,
        writable=(place,),
        environment={"PATH": "/usr/bin:/bin"},
        **paths,  # type: ignore[arg-type]
    )


FLIP = """
import os, shutil, sys, time
place, target = sys.argv[1:]

def put(name):
    try:
        os.rename(name, place)
    except IsADirectoryError:  # bubblewrap made a place to mount upon while nothing was there
        shutil.rmtree(place)
        os.rename(name, place)

os.symlink(target, place + ".link")
print("ready", flush=True)
while True:
    os.rename(place, place + ".kept")
    put(place + ".link")
    time.sleep(0.003)
    os.rename(place, place + ".link")
    put(place + ".kept")
    time.sleep(0.006)
"""


@contextmanager
def flipping(place: Path, target: Path) -> Iterator[None]:
    """Over and over, a link stands in the place of a file or folder, and then that again."""
    argv = [sys.executable, "-I", "-S", "-c", FLIP, str(place), str(target)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()


async def said(sandbox: Bubblewrap, confinement: Confinement, script: str) -> bytes | None:
    """What a shell says in the sandbox; None if it was not started."""
    try:
        async with sandbox.start(["/bin/sh", "-c", script], confinement) as process:
            out = b"".join([data async for data in process.stdout])
            await process.wait()
            return out
    except SandboxError:
        return None


@pytest.mark.parametrize("swapped", ["notes", "."])
async def test_no_race_for_a_protected_file_or_its_folder_shows_the_host(
    sandbox: Bubblewrap, place: Path, outside: Path, swapped: str
) -> None:
    confinement = confined(place, protected=(place / "sub/notes",))
    script = "cat sub/notes; echo written > sub/mine; echo written >> sub/notes"
    answers: list[bytes | None] = []
    with flipping(place / "sub" / swapped, outside / swapped):
        began = time.monotonic()
        while time.monotonic() < began + (ENOUGH_S if any(answers) else AT_MOST_S):
            answers.append(await said(sandbox, confinement, script))
    assert b"ours\n" in answers
    assert not [answer for answer in answers if answer is not None and b"HOST" in answer]
    assert (outside / "notes").read_text() == "HOST\n"
    assert not (outside / "mine").exists()


async def test_nothing_starts_where_a_link_has_come_to_stand_meanwhile(
    sandbox: Bubblewrap, place: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = sandbox._link.request

    def swapped(*words: object, **more: object) -> object:
        (place / "sub/notes").unlink()
        (place / "sub/notes").symlink_to(outside / "notes")
        return request(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sandbox._link, "request", swapped)
    for name in ("protected", "hidden"):
        confinement = confined(place, **{name: (place / "sub/notes",)})
        with pytest.raises(SandboxError, match=r"symbolic links.*notes"):
            async with sandbox.start(["/bin/sh", "-c", "cat sub/notes"], confinement):
                pytest.fail("something was started")
        (place / "sub/notes").unlink()
        (place / "sub/notes").write_text("ours\n")


async def test_nothing_starts_where_a_guard_would_follow_a_link(
    sandbox: Bubblewrap, place: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = sandbox._link.request

    def swapped(*words: object, **more: object) -> object:
        (place / "sub/absent").symlink_to(outside)
        return request(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sandbox._link, "request", swapped)
    with pytest.raises(SandboxError, match=r"absent.*symbolic link"):
        async with sandbox.start(["/bin/true"], confined(place, protected=(place / "sub/absent",))):
            pytest.fail("something was started")


async def test_no_descriptor_of_what_is_shown_reaches_a_program(
    sandbox: Bubblewrap, place: Path
) -> None:
    script = "for fd in /proc/self/fd/* /proc/1/fd/*; do readlink $fd; done; ls sub"
    answer = await said(sandbox, confined(place, protected=(place / "sub/notes",)), script)
    assert answer is not None
    assert b"notes" in answer
    assert os.fsencode(place) not in answer


def test_a_source_is_opened_only_where_no_link_leads_and_nothing_leads_out(
    place: Path, outside: Path
) -> None:
    (place / "link").symlink_to("sub")

    def refused(path: str, kind: str = "any") -> str:
        with pytest.raises(OSError, match=path) as failure:
            open_sources([(0, str(place), path, str(place / path), kind)])
        return str(failure.value)

    assert "symbolic links" in refused("link")
    assert "symbolic links" in refused("link/notes")
    assert "No such file" in refused("gone")
    assert "cross-device" in refused("../outside")
    assert "no folder any more" in refused("sub/notes", "folder")
    assert "no file any more" in refused("sub", "file")
    opened = open_sources([Source(0, str(place), "sub/notes", "there", "file")])
    try:
        assert os.path.samestat(os.fstat(opened[0].fd), (place / "sub/notes").stat())
    finally:
        close_all(opened)
    assert outside.is_dir()
