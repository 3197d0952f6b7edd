"""A record on another disk or host: what arrives there, what is refused, and what breaks off."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_audit import AuditStore, AuditWriter, receiving, verify_record
from sashizu_audit.cli import app
from sashizu_audit.keys import rotate_key, signer_of
from sashizu_audit.notes import PublicKey, open_signer, read_notes
from sashizu_audit.receiving import Receiver, open_receiver
from sashizu_audit.sealing import seal_record
from sashizu_audit.shipping import receive, ship_by_command, ship_to
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import record_id
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from typer.testing import CliRunner, Result

ROLLING = WriterOptions(ballast_bytes=0, segment_bytes=1_500)
RECEIVE = "import sys; from sashizu_audit.cli import app; app(['receive', sys.argv[1]])"


def write(folder: Path, *tools: str) -> None:
    with AuditWriter(folder, options=ROLLING) as parent:
        for tool in tools:
            parent.write([Event("tool.requested", {"tool": tool})])
        handoff = parent.child_handoff()
        with AuditWriter(folder, options=ROLLING, parent=handoff) as child:
            child.write([Event("tool.ended", {"tool": "child"})])
        parent.child_ended(handoff)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "audit", "a", "b", "c", "d", "e")
    return tmp_path / "audit"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


def sign(folder: Path, keys: Path) -> PublicKey:
    signer = signer_of(folder, keys, record_id(folder))
    make_checkpoint(folder, signer)
    return signer.public


def evidence(folder: Path) -> dict[str, bytes]:
    places = ("hot/*", "sealed/*/*", "checkpoints/*")
    paths = [path for place in places for path in folder.glob(place)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def by_command(far: Path) -> str:
    return f"{sys.executable} -c \"{RECEIVE}\" '{far}'"


@pytest.mark.parametrize("way", ["folder", "command"])
def test_what_arrives_is_the_record_and_can_be_asked_and_verified(
    folder: Path, keys: Path, far: Path, way: str
) -> None:
    seal_record(folder)
    key = sign(folder, keys)
    rotate_key(folder, keys, record_id(folder))
    write(folder, "f")
    ways = {
        "folder": lambda: ship_to(folder, far),
        "command": lambda: ship_by_command(folder, by_command(far)),
    }
    shipped = ways[way]()
    assert shipped.refused == []
    assert evidence(far) == evidence(folder)
    report = verify_record(
        far, key=key, anchors=read_notes((far / "checkpoints/checkpoint").read_text())
    )
    assert (report.exit_code, report.signed) == (0, 2), report.findings
    for sql in ("SELECT count(*) FROM events", "SELECT count(*) FROM tool_calls"):
        assert AuditStore(far).query(sql).rows == AuditStore(folder).query(sql).rows
    assert far.stat().st_mode & 0o077 == 0


def test_nothing_is_sent_twice_and_a_shipment_is_on_record_once(folder: Path, far: Path) -> None:
    first = ship_to(folder, far)
    again = ship_to(folder, far)
    assert first.files > 0
    assert (again.files, again.bytes, again.refused) == (0, 0, [])
    assert ship_to(folder, far, check=True).files == 0
    sql = (
        "SELECT count(*) FROM events WHERE kind = 'audit.exported' AND (attrs->>'format') = 'ship'"
    )
    assert AuditStore(far).query(sql).rows == ((1,),)


def test_a_record_that_goes_on_and_is_sealed_and_signed_meanwhile_goes_on_there(
    folder: Path, keys: Path, far: Path
) -> None:
    key = sign(folder, keys)
    with AuditWriter(folder, options=ROLLING) as living:
        for number in range(6):
            living.write([Event("tool.requested", {"tool": f"t{number}"})])
            assert ship_to(folder, far).refused == []
            assert verify_record(far, key=key).exit_code == 0
            if number % 2:
                seal_record(folder)
                sign(folder, keys)
    seal_record(folder)
    sign(folder, keys)
    assert ship_to(folder, far).refused == []
    assert evidence(far) == evidence(folder)
    assert verify_record(far, key=key).exit_code == 0


def first(folder: Path, pattern: str) -> Path:
    path = min(folder.glob(pattern))
    path.chmod(0o600)
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("pattern", "act", "check", "said"),
    [
        ("hot/*.jsonl", cut, False, "lines were cut off here"),
        ("hot/*.jsonl", change, True, "is another one"),
        ("sealed/*/*.gz", cut, False, "is another one"),
        ("sealed/*/*.gz", change, True, "is another one"),
        ("checkpoints/000000.json", cut, False, "is another one"),
        ("checkpoints/000000.json", change, True, "is another one"),
    ],
)
def test_what_is_there_and_differs_is_refused_and_stays(
    folder: Path, keys: Path, far: Path, pattern: str, act, check: bool, said: str
) -> None:
    seal_record(folder)
    sign(folder, keys)
    write(folder, "f")
    ship_to(folder, far)
    before = evidence(far)
    act(first(folder, pattern))
    shipped = ship_to(folder, far, check=check)
    assert any(said in line for line in shipped.refused), shipped.refused
    after = evidence(far)
    assert all(after[name] == data for name, data in before.items())


def test_a_hot_segment_that_goes_on_otherwise_is_refused(folder: Path, far: Path) -> None:
    ship_to(folder, far)
    before = evidence(far)
    path = first(folder, "hot/*.jsonl")
    change(path)
    with path.open("ab") as file:
        file.write(b"{}\n")
    shipped = ship_to(folder, far)
    assert [line for line in shipped.refused if path.name in line and "continuation" in line]
    assert evidence(far)[f"hot/{path.name}"] == before[f"hot/{path.name}"]


def test_who_removes_checkpoints_cannot_have_them_removed_there(
    folder: Path, keys: Path, far: Path
) -> None:
    sign(folder, keys)
    old = (folder / "checkpoints/checkpoint").read_bytes()
    write(folder, "f")
    sign(folder, keys)
    ship_to(folder, far)
    (folder / "checkpoints/000001.json").unlink()
    (folder / "checkpoints/checkpoint").write_bytes(old)
    shipped = ship_to(folder, far)
    assert any("checkpoints were removed" in line for line in shipped.refused)
    assert (far / "checkpoints/000001.json").exists()


def test_a_sealed_segment_that_is_not_what_was_shipped_hot_is_refused(
    folder: Path, far: Path
) -> None:
    ship_to(folder, far)
    hot = first(far, "hot/*.jsonl")
    change(hot)
    seal_record(folder)
    shipped = ship_to(folder, far)
    assert [line for line in shipped.refused if hot.name in line and "does not begin" in line]
    assert hot.exists()


@pytest.mark.parametrize("problem", ["another", "not empty", "itself", "busy"])
def test_another_place_is_refused_as_a_whole(
    folder: Path, far: Path, tmp_path: Path, problem: str
) -> None:
    if problem == "another":
        write(far, "x")
    elif problem == "not empty":
        far.mkdir()
        (far / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in far.rglob("*") if path.is_file()}
    if problem == "itself":
        with pytest.raises(UsageError, match="the record itself"):
            ship_to(folder, folder)
    elif problem == "busy":
        store = (folder / "store.json").read_bytes()
        with open_receiver(far, store), pytest.raises(RecordError, match="another process"):
            ship_to(folder, far)
    else:
        with pytest.raises(RecordError, match=r"another record|not empty"):
            ship_to(folder, far)
    assert all(path.read_bytes() == data for path, data in before.items())


class BrokenOffError(Exception):
    pass


def test_broken_off_after_any_file_the_next_shipment_ends_it(
    folder: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_record(folder)
    key = sign(folder, keys)
    write(folder, "f", "g")
    whole = ship_to(folder, tmp_path / "whole").files
    take = Receiver.take
    for most in range(whole):
        far = tmp_path / f"far{most}"
        left = iter(range(most))

        def limited(self: Receiver, *words, _left: Iterator[int] = left) -> None:
            if next(_left, None) is None:
                raise BrokenOffError
            take(self, *words)

        with monkeypatch.context() as patch:
            patch.setattr(Receiver, "take", limited)
            with pytest.raises(BrokenOffError):
                ship_to(folder, far)
        assert set(evidence(far).items()) <= set(evidence(folder).items())
        assert ship_to(folder, far).refused == []
        assert evidence(far) == evidence(folder)
        assert verify_record(far, key=key).exit_code == 0


def test_broken_off_within_a_file_nothing_half_has_a_name(
    folder: Path, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_record(folder)
    write(folder, "f")

    def broken(fd: int) -> None:
        raise BrokenOffError

    with monkeypatch.context() as patch:
        patch.setattr(receiving.os, "fsync", broken)
        with pytest.raises(BrokenOffError):
            ship_to(folder, far)
    assert evidence(far) == {}
    stray = far / "hot/.01900000-0000-7000-8000-000000000001"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"half of a line")
    assert ship_to(folder, far).refused == []
    assert evidence(far) == evidence(folder)
    assert not stray.exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('hello')", "something else"),
        ("import sys; sys.exit(3)", "something else"),
        ('print(\'{\\"refused\\": \\"full\\\\u001b\\"}\')', "full"),
        ('print(\'{\\"have\\": {\\"x\\": \\"y\\"}}\')', "something else"),
        ("print('{\\\"have\\\": {}}')", "something else"),
    ],
)
def test_a_far_side_that_answers_anything_else_is_told(
    folder: Path, program: str, said: str
) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        ship_by_command(folder, f'{sys.executable} -c "{program}"')
    assert "\x1b" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes cannot be waited for there")
@pytest.mark.parametrize(
    "command",
    [
        "sleep 20",
        "sh -c 'sleep 20 & wait'",  # who inherited the pipe outlives who is ended
        """sh -c 'read line; echo "{\\"have\\": {}}"; sleep 20'""",
    ],
)
def test_a_far_side_that_says_nothing_is_given_up(folder: Path, command: str) -> None:
    with pytest.raises(RecordError, match=r"silent for 0\.1 s") as caught:
        ship_by_command(folder, command, silence_s=0.1)
    assert "next attempt goes on" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes cannot be waited for there")
def test_a_far_side_that_stops_taking_is_given_up(folder: Path, tmp_path: Path) -> None:
    path = next((folder / "hot").iterdir())
    with path.open("ab") as file:
        file.write(b"x" * 2_000_000)  # more than a pipe holds
    answers = """sh -c 'read line; echo "{\\"have\\": {}}"; sleep 20'"""
    with pytest.raises(RecordError, match="silent"):
        ship_by_command(folder, answers, silence_s=0.1)


def test_a_command_that_cannot_be_meant_is_said_to_be_wrong(folder: Path) -> None:
    for command, kind in (("'x", UsageError), (" ", UsageError), ("/no/such/it", RecordError)):
        with pytest.raises(kind):
            ship_by_command(folder, command)


def test_a_first_shipment_that_was_killed_at_once_is_gone_on_with(folder: Path, far: Path) -> None:
    far.mkdir()
    part = far / ".store.json.01a1ff49-e7d9-763e-9356-08f2a0609595"
    part.write_text("{")
    assert ship_to(folder, far).refused == []
    assert not part.exists()


# --- who has got hold of the key ------------------------------------------------------------------


def test_a_digest_out_of_its_order_is_refused_so_that_nobody_can_spoil_the_copy(
    folder: Path, keys: Path, far: Path
) -> None:
    make_checkpoint(folder, open_signer(keys, record_id(folder)))
    with open_receiver(far, (folder / "store.json").read_bytes()) as receiver:
        for name in ("000001.json", "999999999.json", "000000.note"):
            with pytest.raises(RecordError, match="does not follow"):
                receiver.take(f"checkpoints/{name}", 0, sha256(b"{}").hexdigest(), [b"{}"])
        for name in ("../../x", "hot/\0", "checkpoints/\u0661\u0662\u0663\u0664\u0665\u0666.json"):
            with pytest.raises(RecordError, match="no file of a record"):
                receiver.take(name, 0, "", [])
    assert ship_to(folder, far).refused == []
    assert verify_record(far, key=open_signer(keys, record_id(folder)).public).exit_code == 0


def test_a_folder_that_holds_something_else_stays_as_it_is(folder: Path, far: Path) -> None:
    far.mkdir()
    far.chmod(0o755)
    (far / "thesis.txt").write_text("mine")
    with pytest.raises(RecordError, match="not empty"):
        ship_to(folder, far)
    assert far.stat().st_mode & 0o777 == 0o755
    with pytest.raises(RecordError, match="not empty"):
        AuditWriter(far)
    assert far.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in far.iterdir()] == ["thesis.txt"]


# --- a hostile near side --------------------------------------------------------------------------

NAMES = [
    "../x",
    "/etc/passwd",
    "store.json",
    "sealed.json",
    "hot/../../x.jsonl",
    "hot/.x",
    "keys/a.pem",
    "checkpoints/checkpoint/x",
    "sealed/2026-01-01/../../x.gz",
    "hot/01900000-0000-7000-8000-000000000001.0.jsonl\0",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_copy(folder: Path, far: Path, name: str) -> None:
    ship_to(folder, far)
    before = {path: path.read_bytes() for path in far.parent.rglob("*") if path.is_file()}
    line = orjson.dumps({"path": name, "offset": 0, "bytes": 2, "sha256": "0" * 64}) + b"\nhi"
    store = orjson.dumps({"store": (folder / "store.json").read_text()}) + b"\n"
    answers = io.BytesIO()
    receive(far, io.BytesIO(store + line), answers)
    assert b"refused" in answers.getvalue().splitlines()[1]
    assert {p: p.read_bytes() for p in far.parent.rglob("*") if p.is_file()} == before


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_taken_for_what_they_are(made: tuple[Path, bytes], junk: bytes) -> None:
    far, store = made
    before = {path: path.read_bytes() for path in far.rglob("*") if path.is_file()}
    with suppress(RecordError):
        receive(far, io.BytesIO(store + junk), io.BytesIO())
    assert {p: p.read_bytes() for p in far.rglob("*") if p.is_file()} == before


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    root = tmp_path_factory.mktemp("made")
    write(root / "audit", "a")
    ship_to(root / "audit", root / "far")
    store = orjson.dumps({"store": (root / "audit/store.json").read_text()}) + b"\n"
    return root / "far", store


def test_a_note_that_is_not_over_what_is_there_is_refused(
    folder: Path, keys: Path, far: Path
) -> None:
    sign(folder, keys)
    ship_to(folder, far)
    before = evidence(far)
    forged = open_signer(keys, record_id(folder)).note(1, bytes(32))
    (folder / "checkpoints/checkpoint").write_text(forged)
    assert any("not over the checkpoints" in line for line in ship_to(folder, far).refused)
    (folder / "checkpoints/checkpoint").write_text("nonsense")
    assert any("none of this record" in line for line in ship_to(folder, far).refused)
    assert evidence(far)["checkpoints/checkpoint"] == before["checkpoints/checkpoint"]


# --- commands -------------------------------------------------------------------------------------


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_record_is_shipped_by_command(folder: Path, far: Path) -> None:
    shown = call("ship", "--to", str(far), "--json", "--store", str(folder))
    assert json.loads(shown.stdout)["refused"] == []
    assert call("ship", "--to", str(far), "--store", str(folder)).stdout == "0 files, 0 bytes\n"
    there = call("ship", "--command", by_command(far), "--check", "--store", str(folder))
    assert there.stdout == "0 files, 0 bytes\n"
    cut(first(folder, "hot/*.jsonl"))
    refused = call("ship", "--to", str(far), "--store", str(folder))
    assert refused.exit_code == 1
    assert "refused hot/" in refused.stderr
    assert call("verify", "--store", str(far)).exit_code == 0


@pytest.mark.parametrize("words", [[], ["--to", "x", "--command", "y"]])
def test_where_to_is_said_once(folder: Path, words: list[str]) -> None:
    result = call("ship", *words, "--store", str(folder))
    assert isinstance(result.exception, UsageError)


def test_a_shipped_record_keeps_what_was_dropped_at_home(folder: Path, far: Path) -> None:
    seal_record(folder)
    ship_to(folder, far)
    before = evidence(far)
    shutil.rmtree(folder / "sealed")
    ship_to(folder, far)
    assert {name: evidence(far)[name] for name in before} == before
    assert os.listdir(far / "sealed")  # noqa: PTH208 - names alone
