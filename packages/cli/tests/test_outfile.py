import os
import stat
from pathlib import Path

import pytest
from sashizu_cli import outfile
from sashizu_core.errors import SashizuError, UsageError


def test_the_file_appears_whole_and_nothing_is_left_beside_it(tmp_path):
    target = tmp_path / "report.json"

    with outfile.opened(target) as file:
        assert not target.exists()
        file.write("ä\n")

    assert target.read_bytes() == "ä\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_a_run_that_fails_leaves_what_was_there(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("before")

    with pytest.raises(ZeroDivisionError), outfile.opened(target):
        raise ZeroDivisionError

    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_of_a_file_that_is_replaced_stays(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("before")
    target.chmod(0o600)

    with outfile.opened(target) as file:
        file.write("after")

    assert target.read_text() == "after"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.json").write_text("before")
    (tmp_path / "link.json").symlink_to("real.json")

    with outfile.opened(tmp_path / "link.json") as file:
        file.write("after")

    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "after"


def test_a_folder_is_refused_before_anything_runs(tmp_path):
    with (
        pytest.raises(UsageError, match="is a folder; name a file in it"),
        outfile.opened(tmp_path),
    ):
        pytest.fail("the block ran")


def test_a_place_below_a_file_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(UsageError, match=r"cannot be written: .*; nothing was run"),
        outfile.opened(tmp_path / "file" / "report.json"),
    ):
        pytest.fail("the block ran")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"), outfile.opened(tmp_path / "x"):
        pytest.fail("the block ran")


@pytest.mark.skipif(os.name == "nt", reason="no such device")
def test_a_device_is_written_to_and_never_replaced():
    with outfile.opened(outfile.Path("/dev/null")) as file:
        file.write("gone")

    assert outfile.Path("/dev/null").is_char_device()


def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    target = tmp_path / "report.json"
    target.write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with outfile.opened(target) as file:
        monkeypatch.setattr(outfile.os, "fsync", full)
        with pytest.raises(SashizuError, match="was not written: No space left on device"):
            file.write("after")

    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_no_path_is_no_file():
    with outfile.opened(None) as file:
        assert file is None


def test_a_folder_that_does_not_exist_is_not_made(tmp_path):
    with (
        pytest.raises(UsageError, match="No such file or directory; nothing was run"),
        outfile.opened(tmp_path / "nope" / "r.json"),
    ):
        pass
    assert not (tmp_path / "nope").exists()


def test_a_minus_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="/dev/stdout"), outfile.opened(Path("-")):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_an_open_pipe_or_file_is_written_to_and_never_replaced(tmp_path):
    reading, writing = os.pipe()
    with outfile.opened(Path(f"/dev/fd/{writing}")) as file:
        file.write("piped")
    assert os.read(reading, 10) == b"piped"
    os.close(reading)
    os.close(writing)
    target = tmp_path / "report.txt"
    with target.open("w") as printed:
        printed.write("printed\n")
        printed.flush()
        with outfile.opened(Path(f"/dev/fd/{printed.fileno()}")) as file:
            file.write("written\n")
    assert target.read_text() == "printed\nwritten\n"


def test_the_fresh_file_of_a_process_that_was_killed_is_in_nobodys_way(tmp_path):
    (tmp_path / f".report.json.{os.getpid()}.new").write_text("left")
    with outfile.opened(tmp_path / "report.json") as file:
        file.write("x")
    assert (tmp_path / "report.json").read_text() == "x"
