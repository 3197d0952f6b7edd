"""Commands in one line, and files that may only be read."""

import subprocess
import sys
from pathlib import Path

import pytest
from sashizu_audit.command_line import command_words
from sashizu_audit.disk import put_in_place, remove


def test_a_line_starts_its_program_with_its_words(tmp_path: Path) -> None:
    script = tmp_path / "a program.py"
    script.write_text("import sys; print(sys.argv[1:])")
    quoted = f'"{sys.executable}" "{script}" "two words" three'
    done = subprocess.run(
        command_words(quoted), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "['two words', 'three']\n"


@pytest.mark.parametrize("line", ["", "  "])
def test_an_empty_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        command_words(line)


def test_what_may_only_be_read_can_be_replaced_and_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.write_bytes(path.name.encode())
        path.chmod(0o400)
    put_in_place(new, old)
    assert old.read_bytes() == b"new"
    remove(old)
    remove(old)
    assert list(tmp_path.iterdir()) == []
