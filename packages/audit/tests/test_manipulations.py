"""Every manipulation of a record that is covered by a checkpoint is found, and the file is named.

By `verify_record` and by the program in the manual, which knows none of our packages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sashizu_audit import AuditWriter, verify_record, verify_segment
from sashizu_audit.chain import link, split_line
from sashizu_audit.notes import PublicKey, open_signer, read_notes
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import find_segments, hot_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import record_id
from sashizu_core.events import Event

PROGRAM = Path(__file__).parents[3] / "docs/programs/verify_record.py"
SMALL = WriterOptions(ballast_bytes=0)


@dataclass(frozen=True)
class Scene:
    """A record whose writers were signed for, in the middle of the first one and at its end."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "audit"

    @property
    def path(self) -> Path:
        """The file of the first writer, which wrote the tools."""
        return min(hot_segments(self.folder).values(), key=lambda file: file.key).path

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)

    def write(self, lines: Sequence[bytes]) -> None:
        self.path.write_bytes(b"".join(lines))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    folder = root / "audit"
    with AuditWriter(folder, options=SMALL) as writer:
        for number in range(10):
            writer.write([Event("tool.requested", {"tool": f"t{number}"})])
        signer = open_signer(root / "keys", record_id(folder))
        (root / "first").write_text(make_checkpoint(folder, signer).note)
        for number in range(10, 20):
            writer.write([Event("tool.requested", {"tool": f"t{number}"})])
        handoff = writer.child_handoff()
        with AuditWriter(folder, options=SMALL, parent=handoff) as child:
            child.write([Event("tool.requested", {"tool": "child"})])
        writer.child_ended(handoff)
    (root / "second").write_text(make_checkpoint(folder, signer).note)
    (root / "public").write_text(signer.public.line)
    return root


@pytest.fixture
def scene(made: Path, tmp_path: Path) -> Scene:
    shutil.copytree(made, tmp_path / "root")
    return Scene(tmp_path / "root")


def anew(lines: Sequence[bytes]) -> list[bytes]:
    """These lines, numbered from 0, with hashes that fit."""
    head, found = b"0" * 64, []
    for number, line in enumerate(lines):
        parts = split_line(line.rstrip(b"\n"))
        assert parts is not None
        begin, rest = parts[0].split(b'"seq":', 1)
        body = begin + b'"seq":%d,' % number + rest.partition(b",")[2]
        head = link(head, body)
        found.append(body + b',"h":"' + head + b'"}\n')
    return found


def edited(line: bytes) -> bytes:
    return line.replace(b'"tool":"t', b'"tool":"T')


def forged(scene: Scene) -> list[bytes]:
    lines = scene.lines()
    return [*lines[:5], anew([edited(lines[4])])[0], *lines[5:]]


def swapped(folder: Path) -> None:
    one, two = [file.path for file in sorted(hot_segments(folder).values(), key=lambda x: x.key)][
        :2
    ]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def another_key(scene: Scene) -> None:
    """Rewrite the record, and sign it with a key of one's own."""
    scene.write(anew([edited(line) for line in scene.lines()]))
    shutil.rmtree(scene.folder / "checkpoints")
    other = open_signer(scene.root / "others", record_id(scene.folder))
    make_checkpoint(scene.folder, other)
    make_checkpoint(scene.folder, other)


def rolled_back(scene: Scene) -> None:
    (scene.folder / "checkpoints/000001.json").unlink()
    (scene.folder / "checkpoints/checkpoint").write_text((scene.root / "first").read_text())


CHAIN_FINDS: dict[str, Callable[[Scene], object]] = {
    "an edited byte": lambda s: s.write([*s.lines()[:4], edited(s.lines()[4]), *s.lines()[5:]]),
    "a deleted line": lambda s: s.write([*s.lines()[:4], *s.lines()[5:]]),
    "two lines swapped": lambda s: s.write(
        [*s.lines()[:4], s.lines()[5], s.lines()[4], *s.lines()[6:]]
    ),
    "a line doubled": lambda s: s.write([*s.lines()[:5], *s.lines()[4:]]),
    "a forged line": lambda s: s.write(forged(s)),
    "a torn last line": lambda s: s.path.write_bytes(s.path.read_bytes()[:-30]),
}
CHAIN_MISSES: dict[str, Callable[[Scene], object]] = {
    "the end cut after the first checkpoint": lambda s: s.write(s.lines()[:-6]),
    "the end cut before the first checkpoint": lambda s: s.write(s.lines()[:4]),
    "a line deleted and the chain computed anew": lambda s: s.write(
        anew([*s.lines()[:4], *s.lines()[5:]])
    ),
    "edited and computed anew from there on": lambda s: s.write(
        anew([*s.lines()[:4], edited(s.lines()[4]), *s.lines()[5:]])
    ),
    "an empty file": lambda s: s.path.write_bytes(b""),
}
OTHERS: dict[str, Callable[[Scene], object]] = {
    "the file of a writer": lambda s: s.path.unlink(),
    "the file of a child": lambda s: next(
        file.path
        for file in hot_segments(s.folder).values()
        if b"child" in file.path.read_bytes() and file.path != s.path
    ).unlink(),
    "a deleted digest": lambda s: (s.folder / "checkpoints/000000.json").unlink(),
    "files of two writers swapped": lambda s: swapped(s.folder),
    "another key": another_key,
    "a checkpoint rolled back": rolled_back,
}


def opinion(scene: Scene) -> int:
    """What the program in the manual says."""
    words = [scene.folder, scene.root / "public", scene.root / "first", scene.root / "second"]
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *map(str, words)], capture_output=True, check=False
    )
    assert done.stderr == b""
    return done.returncode


@pytest.mark.skipif(not PROGRAM.exists(), reason="the manual is not part of an installed package")
@pytest.mark.parametrize("name", ["nothing", *CHAIN_FINDS, *CHAIN_MISSES, *OTHERS])
def test_a_manipulation_beneath_a_checkpoint_is_found_by_both_programs(
    scene: Scene, name: str
) -> None:
    path = scene.path
    {"nothing": lambda _: None, **CHAIN_FINDS, **CHAIN_MISSES, **OTHERS}[name](scene)
    key = PublicKey.parse((scene.root / "public").read_text())
    notes = [n for name in ("first", "second") for n in read_notes((scene.root / name).read_text())]
    report = verify_record(scene.folder, key=key, anchors=notes)
    expected = 0 if name == "nothing" else 1
    assert report.exit_code == expected
    assert opinion(scene) == expected
    damaged = {found.file for found in report.all_findings if found.grade == "damage"}
    if name in CHAIN_FINDS or name in CHAIN_MISSES or name == "the file of a writer":
        assert path.name in damaged
    elif name != "nothing":
        assert damaged


@pytest.mark.parametrize("name", CHAIN_FINDS)
def test_what_a_chain_finds_by_itself(scene: Scene, name: str) -> None:
    path = scene.path
    CHAIN_FINDS[name](scene)
    report = verify_segment(path)
    assert report.damage or report.torn_bytes


@pytest.mark.parametrize("name", CHAIN_MISSES)
def test_what_a_chain_misses_by_itself(scene: Scene, name: str) -> None:
    path = scene.path
    CHAIN_MISSES[name](scene)
    report = verify_segment(path)
    assert not report.damage
    assert not report.torn_bytes


@pytest.mark.parametrize("sealed", [False, True])
def test_any_changed_byte_of_any_file_of_evidence_is_found(scene: Scene, sealed: bool) -> None:
    if sealed:
        seal_record(scene.folder)
    make_checkpoint(scene.folder, open_signer(scene.root / "keys", record_id(scene.folder)))
    key = PublicKey.parse((scene.root / "public").read_text())
    assert verify_record(scene.folder, key=key).exit_code == 0
    files = [file.path for file in find_segments(scene.folder)]
    files += [*(scene.folder / "checkpoints").glob("*.json")]
    files += [*(scene.folder / "parquet").rglob("*.parquet")]
    missed = []
    for path in files:
        whole = path.read_bytes()
        path.chmod(0o600)
        for place in range(0, len(whole), max(1, len(whole) // 60)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            if verify_record(scene.folder, key=key).exit_code != 1:
                missed.append((path.name, place))
        path.write_bytes(whole)
    assert missed == []
