"""What root starts is not root, and sees root's files as its own."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement

if sys.platform != "linux" or os.geteuid() != 0:
    pytest.skip("needs root on Linux", allow_module_level=True)

from sashizu_sandbox.bubblewrap.kernel import dropped_user
from sashizu_sandbox.bubblewrap.probe import probe_bubblewrap
from sashizu_sandbox.bubblewrap.sandbox import Bubblewrap, open_bubblewrap


@pytest.fixture
async def sandbox() -> AsyncIterator[Bubblewrap]:
    info = probe_bubblewrap()
    if info.kind != "enforced":
        pytest.skip(f"no sandbox can be had: {info.reason}; {info.remedy}")
    async with open_bubblewrap() as sandbox:
        yield sandbox


@pytest.fixture
def confinement(tmp_path: Path) -> Confinement:
    return Confinement(tmp_path, writable=(tmp_path,), environment={"PATH": "/usr/bin:/bin"})


async def test_root_shows_no_folder_that_became_a_link_meanwhile(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path.resolve() / "place"
    place.mkdir()
    request = sandbox._link.request

    def swapped(*words: object, **more: object) -> object:
        place.rmdir()
        place.symlink_to("/etc")
        return request(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sandbox._link, "request", swapped)
    with pytest.raises(SandboxError, match="symbolic links"):
        async with sandbox.start(["/bin/true"], replace(confinement, cwd=place, writable=(place,))):
            pytest.fail("something was started")


async def test_what_root_starts_is_not_root_and_its_files_are_roots(
    sandbox: Bubblewrap, confinement: Confinement, tmp_path: Path
) -> None:
    script = "umask 077; echo $$ mine > mine; cat mine; exec sleep 600"
    async with sandbox.start(["/bin/sh", "-c", script], confinement) as process:
        assert (await process.stdout.receive()).endswith(b" mine\n")
        assert (tmp_path / "mine").stat().st_uid == 0
        owners = {
            place.stat().st_uid
            for place in Path("/proc").glob("[0-9]*")
            if folder_of(place) == str(tmp_path)
        }
    assert owners == {dropped_user()}


def folder_of(process: Path) -> str:
    """The folder that a process is in; empty if it is gone."""
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""
