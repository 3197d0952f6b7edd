"""The program in the manual, which knows none of our packages, comes to the same verdicts."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_audit import AuditWriter, verify_record
from sashizu_audit.chain import link, split_line
from sashizu_audit.checkpoints import tree_root
from sashizu_audit.keys import let_evolve, rotate_key, signer_of
from sashizu_audit.notes import PublicKey, open_signer, read_notes
from sashizu_audit.pruning import prune_record
from sashizu_audit.redacting import redact_record
from sashizu_audit.retention import Retention
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import find_segments, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import record_id
from sashizu_audit.writer_lines import Clock
from sashizu_core.events import Event
from sashizu_core.redaction import Redactor

PROGRAM = Path(__file__).parents[3] / "docs/programs/verify_record.py"
pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="the manual is not part of an installed package"
)
OLD = Clock(wall_ns=lambda: time.time_ns() - 500 * 86_400 * 10**9)
ROLLING = WriterOptions(ballast_bytes=0, segment_bytes=1_500)
SECRET = "correct-horse-battery"


def opinion(folder: Path, key: Path | None, *anchors: Path) -> int:
    """What the program says, started as anybody would."""
    words = [str(key) if key else "", *map(str, anchors)]
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), str(folder), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode


def ours(folder: Path, key: Path | None, *anchors: Path) -> int:
    public = PublicKey.parse(key.read_text()) if key else None
    notes = [note for path in anchors for note in read_notes(path.read_text())]
    return verify_record(folder, key=public, anchors=notes).exit_code


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with everything in it, its keys and its anchors."""
    root = tmp_path_factory.mktemp("made")
    folder = root / "audit"

    def write(clock: Clock, *tools: str) -> None:
        with AuditWriter(folder, options=ROLLING, clock=clock) as parent:
            for tool in tools:
                parent.write([Event("tool.requested", {"tool": tool, "attrs": {"n": 1}})])
            handoff = parent.child_handoff()
            with AuditWriter(folder, options=ROLLING, parent=handoff, clock=clock) as child:
                child.write([Event("tool.ended", {"decision_reason": f"said {SECRET}"})])
            parent.child_ended(handoff)
            parent.child_ended(parent.child_handoff())  # which never began

    system = Clock()
    write(OLD, "a", "b", "c", "d", "e", "f", "g", "h")
    write(system, "i", "j", "k", "l", "m", "n", "o", "p")
    seal_record(folder)
    store_id = record_id(folder)
    signer = open_signer(root / "keys", store_id)
    (root / "first.pub").write_text(signer.public.line)
    anchors = make_checkpoint(folder, signer).note
    prune_record(folder, lambda: signer, Retention(400, insist=True))
    redact_record(folder, Redactor([SECRET]), lambda: signer)
    rotate_key(folder, root / "keys", store_id)
    write(system, "q", "r")
    anchors += "\n" + make_checkpoint(folder, signer_of(folder, root / "keys", store_id)).note
    write(system, "s", "t")
    with AuditWriter(folder, options=ROLLING) as alone:  # of whom nobody else knows
        alone.write([Event("tool.requested", {"tool": "u"})])
    (root / "anchors").write_text(anchors)
    lines = (root / "keys" / f"{store_id}.pub").read_text()
    (root / "newest.pub").write_text(lines)
    (root / "both.pub").write_text(lines + (root / "first.pub").read_text() + "\n")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "root")
    return tmp_path / "root"


def packed(folder: Path, number: int = -1) -> Path:
    found = sorted(sealed_segments(folder).values(), key=lambda file: file.path.stat().st_size)
    found[number].path.chmod(0o600)
    return found[number].path


def change_packed(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = packed(folder)
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def hot(folder: Path, tool: bytes = b"t") -> Path:
    paths = [file.path for file in find_segments(folder) if not file.sealed]
    return next(path for path in paths if b'"tool":"%b"' % tool in path.read_bytes())


def alone(folder: Path) -> Path:
    return hot(folder, b"u")


def anew(data: bytes) -> bytes:
    """These lines with hashes that fit."""
    made, head = b"", orjson.loads(data.split(b"\n")[0])["attrs"]["previous_h"].encode()
    for line in data.splitlines():
        parts = split_line(line)
        assert parts is not None
        head = link(head, parts[0])
        made += parts[0] + b',"h":"' + head + b'"}\n'
    return made


def empty(path: Path) -> None:
    path.write_bytes(b"")
    os.utime(path, (1, 1))


def without(data: bytes, line: int) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[line]
    return b"".join(lines)


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "a byte of a sealed line": lambda f: change_packed(f, lambda d: d.replace(b'"n":1', b'"n":2')),
    "a sealed line": lambda f: change_packed(f, lambda d: without(d, 1)),
    "a sealed end": lambda f: change_packed(f, lambda d: without(d, -1)),
    "a sealed line computed anew": lambda f: change_packed(
        f, lambda d: anew(d.replace(b'"n":1', b'"n":2'))
    ),
    "a sealed file": lambda f: packed(f).unlink(),
    "a sealed file emptied": lambda f: packed(f).write_bytes(gzip.compress(b"")),
    "a sealed file cut": lambda f: packed(f).write_bytes(packed(f).read_bytes()[:-20]),
    "a header of a sealed file": lambda f: packed(f).write_bytes(
        packed(f).read_bytes()[:4] + b"\1" + packed(f).read_bytes()[5:]
    ),
    "a hot byte": lambda f: hot(f).write_bytes(hot(f).read_bytes().replace(b'"n":1', b'"n":2')),
    "a hot line": lambda f: hot(f).write_bytes(without(hot(f).read_bytes(), 1)),
    "a hot line doubled": lambda f: hot(f).write_bytes(
        hot(f).read_bytes() + hot(f).read_bytes().splitlines(keepends=True)[-1]
    ),
    "a hot file": lambda f: hot(f).unlink(),
    "a torn end": lambda f: alone(f).write_bytes(alone(f).read_bytes()[:-30]),
    "a NUL end": lambda f: alone(f).write_bytes(
        b"".join(alone(f).read_bytes().splitlines(keepends=True)[:-1]) + b"\0" * 99
    ),
    "a file with an absurd number": lambda f: shutil.copy(
        alone(f), alone(f).with_name(alone(f).name.replace(".0.", f".{10**15}."))
    ),
    "NULs where the last newline was": lambda f: alone(f).write_bytes(
        without(alone(f).read_bytes(), -1)[:-1] + b"\0" * 99
    ),
    "bytes where the last newline was": lambda f: alone(f).write_bytes(
        without(alone(f).read_bytes(), -1)[:-1] + b"x" * 99
    ),
    "a power cut between two segments": lambda f: cut_between(f),  # noqa: PLW0108 - it comes below
    "a torn end that its parent knows": lambda f: hot(f).write_bytes(hot(f).read_bytes()[:-30]),
    "a newline": lambda f: hot(f).write_bytes(hot(f).read_bytes()[:-1]),
    "an empty file": lambda f: empty(alone(f)),
    "a file that nobody knows": lambda f: alone(f).unlink(),
    "a digest": lambda f: (f / "checkpoints/000000.json").write_bytes(b"{}"),
    "the first digest": lambda f: (f / "checkpoints/000000.json").unlink(),
    "the last digest": lambda f: max((f / "checkpoints").glob("*.json")).unlink(),
    "the note": lambda f: (f / "checkpoints/checkpoint").unlink(),
    "a byte of the note": lambda f: (f / "checkpoints/checkpoint").write_text(
        (f / "checkpoints/checkpoint").read_text().replace("\n5\n", "\n4\n", 1)
    ),
    "all checkpoints": lambda f: shutil.rmtree(f / "checkpoints"),
    "what was redacted": lambda f: change_redacted(f),  # noqa: PLW0108 - it comes below
}


VERDICTS = {
    "nothing": 0,
    "NULs where the last newline was": 2,
    "a power cut between two segments": 2,
    "a torn end": 2,
    "a NUL end": 2,
    "an empty file": 2,
    "a file that nobody knows": 0,
}
"""What is found after the newest checkpoint; everything else is damage."""


def cut_between(folder: Path) -> None:
    path = alone(folder)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    empty(path.with_name(path.name.replace(".0.", ".1.")))


def change_redacted(folder: Path) -> None:
    for file in sealed_segments(folder).values():
        data = gzip.decompress(file.path.read_bytes())
        if b"[redacted" in data:
            file.path.chmod(0o600)
            file.path.write_bytes(gzip.compress(data.replace(b"[redacted", b"[Redacted")))


def test_it_is_short_and_knows_none_of_our_packages() -> None:
    text = PROGRAM.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert "import sashizu" not in text
    assert "from sashizu" not in text


@pytest.mark.parametrize("name", CHANGES)
def test_both_come_to_the_same_verdict(root: Path, name: str) -> None:
    CHANGES[name](root / "audit")
    for key in (None, root / "newest.pub"):
        assert opinion(root / "audit", key) == ours(root / "audit", key), key
    anchored = root / "newest.pub", root / "anchors"
    assert opinion(root / "audit", root / "both.pub", anchored[1]) == ours(
        root / "audit", *anchored
    )
    verdict = ours(root / "audit", root / "first.pub", root / "anchors")
    assert verdict == VERDICTS.get(name, 1)


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record whose key changes with every checkpoint, its first key, and what a thief finds."""
    root = tmp_path_factory.mktemp("evolved")
    folder, keys = root / "audit", root / "keys"
    with AuditWriter(folder, options=ROLLING) as writer:
        writer.write([Event("tool.requested", {"tool": "t", "attrs": {"n": 1}})])
    store_id = record_id(folder)
    (root / "first.pub").write_text(let_evolve(folder, keys, store_id).line)
    for number in range(5):
        with AuditWriter(folder, options=ROLLING) as writer:
            writer.write([Event("tool.requested", {"tool": f"t{number}", "attrs": {"n": number}})])
        make_checkpoint(folder, signer_of(folder, keys, store_id))
    return root


def sign_all_anew(root: Path) -> None:
    """All that a thief can do who has the newest private key: write digests and notes anew."""
    place, store_id = root / "audit/checkpoints", record_id(root / "audit")
    thief = open_signer(root / "keys", store_id)
    leaves = [path.read_bytes() for path in sorted(place.glob("*.json"))]
    told = orjson.loads(leaves[1])
    told["writers"][0]["seq"] = 0
    leaves[1] = orjson.dumps(told)
    for number, leaf in enumerate(leaves):
        (place / f"{number:06}.json").write_bytes(leaf)
        note = thief.note(number + 1, tree_root(leaves[: number + 1]), thief)
        if number:
            (place / f"{number:06}.note").write_text(note)
    (place / "checkpoint").write_text(note)


FORGERIES: dict[str, tuple[Callable[[Path], object], int]] = {
    "nothing": (lambda root: None, 0),
    "all signed anew": (sign_all_anew, 1),
    "a change of keys gone": (lambda r: (r / "audit/checkpoints/000002.note").unlink(), 1),
    "a digest changed": (
        lambda r: (r / "audit/checkpoints/000001.json").write_bytes(
            (r / "audit/checkpoints/000001.json").read_bytes().replace(b'"seq":', b'"seq":1')
        ),
        1,
    ),
    "the end cut": (lambda r: (r / "audit/checkpoints/000004.json").unlink(), 1),
    "a line changed": (
        lambda r: hot(r / "audit").write_bytes(
            hot(r / "audit").read_bytes().replace(b'"n":1', b'"n":2')
        ),
        1,
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_both_follow_keys_that_evolve_and_believe_no_thief(
    evolved: Path, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "root"
    shutil.copytree(evolved, root)
    forge, verdict = FORGERIES[name]
    forge(root)
    first = root / "first.pub"
    assert opinion(root / "audit", first) == ours(root / "audit", first) == verdict


def test_a_wrong_call_is_no_verdict(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), str(tmp_path)], capture_output=True, check=False
    )
    assert done.returncode == 64
    assert b"FOLDER" in done.stderr


@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_both_find_any_change_of_any_byte(made: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "audit"
        shutil.copytree(made / "audit", folder)
        path = data.draw(st.sampled_from([file.path for file in find_segments(folder)]))
        whole = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] ^= data.draw(st.integers(1, 255))
        path.chmod(0o600)
        path.write_bytes(whole)
        assert opinion(folder, made / "newest.pub") == ours(folder, made / "newest.pub") == 1
