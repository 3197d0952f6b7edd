"""Files that are opened by their own names."""

import errno
import os
from pathlib import Path

import pytest
from sashizu_core import unfollowed
from sashizu_core.unfollowed import open_unfollowed


@pytest.fixture(params=["flag", "compared"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's own flag, and as Windows does without one."""
    if request.param == "compared":
        monkeypatch.setattr(unfollowed, "_NO_LINK", 0)
    elif not hasattr(os, "O_NOFOLLOW"):
        pytest.skip("this system has no such flag")


@pytest.mark.usefixtures("_way")
def test_a_file_is_opened_for_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\r\nb\n\x1ac")
    descriptor = open_unfollowed(tmp_path / "file", os.O_RDONLY)
    assert os.read(descriptor, 99) == b"a\r\nb\n\x1ac"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.usefixtures("_way")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="link") as caught:
        open_unfollowed(tmp_path / "link", os.O_RDONLY)
    assert caught.value.errno == errno.ELOOP


def test_what_was_swapped_meanwhile_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"y")
    monkeypatch.setattr(unfollowed, "_NO_LINK", 0)
    plain = os.open

    def swapped(path: Path, flags: int, mode: int) -> int:
        return plain(tmp_path / "other", flags, mode)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(OSError, match="swapped"):
        open_unfollowed(tmp_path / "file", os.O_RDONLY)
