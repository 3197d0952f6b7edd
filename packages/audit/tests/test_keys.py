"""A key takes the place of another one, and what either signed can be checked."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_audit import AuditWriter, signing, verify_record
from sashizu_audit import keys as module
from sashizu_audit.checkpoints import tree_root, tree_roots
from sashizu_audit.cli import app
from sashizu_audit.keys import let_evolve, rotate_key, signer_of
from sashizu_audit.notes import PublicKey, open_signer, read_notes
from sashizu_audit.pruning import prune_record
from sashizu_audit.retention import Retention
from sashizu_audit.sealing import seal_record
from sashizu_audit.signing import make_checkpoint, signing_lock
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import RecordReport, record_id
from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from typer.testing import CliRunner, Result

SMALL = WriterOptions(ballast_bytes=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "audit")
    return tmp_path / "audit"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def write(folder: Path) -> None:
    with AuditWriter(folder, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "t"})])


def sign(folder: Path, keys: Path) -> tuple[str, PublicKey]:
    signer = signer_of(folder, keys, record_id(folder))
    write(folder)
    return make_checkpoint(folder, signer).note, signer.public


def rotate(folder: Path, keys: Path) -> tuple[str, PublicKey]:
    made, signer = rotate_key(folder, keys, record_id(folder))
    return made.note, signer.public


def check(folder: Path, key: PublicKey, *anchors: str) -> RecordReport:
    return verify_record(folder, key=key, anchors=[n for a in anchors for n in read_notes(a)])


def test_with_any_key_of_a_record_all_its_notes_can_be_checked(folder: Path, keys: Path) -> None:
    notes, known = [], []
    for turn in (sign, rotate, sign, rotate, sign):
        note, key = turn(folder, keys)
        notes.append(note)
        known.append(key)
    assert len({key.line for key in known}) == 3
    for key in known:
        report = check(folder, key, *notes)
        assert (report.exit_code, report.signed) == (0, 5), report.findings


def test_the_old_private_key_is_gone_and_its_public_half_stays(folder: Path, keys: Path) -> None:
    _, old = sign(folder, keys)
    private = (keys / f"{record_id(folder)}.pem").read_bytes()
    rotate(folder, keys)
    assert all(private != path.read_bytes() for path in keys.iterdir())
    kept = keys / f"{record_id(folder)}.{old.key_id.hex()}.pub"
    assert PublicKey.parse(kept.read_text()) == old
    for path in keys.glob("*.pem"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_retired_key_signs_nothing_that_counts_any_more(folder: Path, keys: Path) -> None:
    old = open_signer(keys, record_id(folder))
    sign(folder, keys)
    rotate(folder, keys)
    stolen = make_checkpoint(folder, old)
    report = check(folder, old.public, stolen.note)
    assert report.exit_code == 1
    assert any("whose time was another" in one.reason for one in report.findings)


def test_who_has_not_the_old_key_cannot_name_the_next(
    folder: Path, keys: Path, tmp_path: Path
) -> None:
    _, key = sign(folder, keys)
    thief = open_signer(tmp_path / "thief", record_id(folder))
    told = {"key": {"previous": key.line, "next": thief.public.line}}
    make_checkpoint(folder, thief, told, cosigner=thief)
    assert check(folder, key).exit_code == 1


@pytest.mark.parametrize("gone", ["000001.note", "000001.json"])
def test_without_the_note_of_a_change_the_old_key_leads_nowhere(
    folder: Path, keys: Path, gone: str
) -> None:
    _, old = sign(folder, keys)
    rotate(folder, keys)
    sign(folder, keys)
    (folder / "checkpoints" / gone).unlink()
    assert check(folder, old).exit_code == 1


class BrokenOffError(Exception):
    pass


def test_a_change_that_is_broken_off_is_ended_or_forgotten(
    folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, old = sign(folder, keys)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_take_over", _break_off)
        with pytest.raises(BrokenOffError):
            rotate(folder, keys)
    note, new = sign(folder, keys)
    assert new != old
    assert check(folder, old, note).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(module, "sign_now", _break_off)
        with pytest.raises(BrokenOffError):
            rotate(folder, keys)
    note, same = sign(folder, keys)
    assert same == new
    assert check(folder, old, note).exit_code == 0


def _break_off(*_: object, **__: object) -> None:
    raise BrokenOffError


# --- keys that change with every checkpoint -------------------------------------------------------


def evolve(folder: Path, keys: Path) -> PublicKey:
    return let_evolve(folder, keys, record_id(folder))


def private_keys(keys: Path) -> list[bytes]:
    return [path.read_bytes() for path in keys.glob("*.pem")]


def test_an_evolving_key_signs_one_checkpoint_and_is_gone(folder: Path, keys: Path) -> None:
    first = evolve(folder, keys)
    seen, notes = private_keys(keys), []
    for _ in range(4):
        note, _ = sign(folder, keys)
        notes.append(note)
        (newest,) = private_keys(keys)
        assert newest not in seen
        seen.append(newest)
    report = check(folder, first, *notes)
    assert (report.exit_code, report.signed) == (0, 4), report.findings
    assert evolve(folder, keys) == first
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys.glob("*.pem"))


def test_the_old_private_key_is_overwritten_and_not_only_unlinked(
    folder: Path, keys: Path, tmp_path: Path
) -> None:
    evolve(folder, keys)
    kept = tmp_path / "undeleted"
    kept.hardlink_to(keys / f"{record_id(folder)}.pem")
    sign(folder, keys)
    assert set(kept.read_bytes()) == {0}


def test_who_steals_the_machine_cannot_sign_the_past_anew(folder: Path, keys: Path) -> None:
    first = evolve(folder, keys)
    for _ in range(3):
        sign(folder, keys)
    thief = open_signer(keys, record_id(folder))
    place = folder / "checkpoints"
    told = orjson.loads((place / "000000.json").read_bytes())
    told["writers"] = []
    (place / "000000.json").write_bytes(orjson.dumps(told))
    leaves = [path.read_bytes() for path in sorted(place.glob("*.json"))]
    (place / "checkpoint").write_text(thief.note(3, tree_root(leaves)))
    assert check(folder, first).exit_code == 1


def test_all_that_signs_lets_the_key_evolve(folder: Path, keys: Path) -> None:
    first = evolve(folder, keys)
    sign(folder, keys)
    seal_record(folder)
    prune_record(
        folder,
        lambda: signer_of(folder, keys, record_id(folder)),
        Retention(1, insist=True),
        today=date(2100, 1, 1),
    )
    note, newest = rotate(folder, keys)
    assert newest != first
    report = check(folder, first, note)
    assert report.exit_code == 0, report.findings
    assert len(list((folder / "checkpoints").glob("*.note"))) == report.signed


def test_an_evolving_key_survives_being_broken_off_at_any_step(
    folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evolve(folder, keys)
    sign(folder, keys)
    steps = [(module, "_take_over"), (signing, "save_note"), (signing, "append_digest")]
    for place, name in steps:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, _break_off)
            with pytest.raises(BrokenOffError):
                sign(folder, keys)
        note, _ = sign(folder, keys)
        report = check(folder, first, note)
        assert report.exit_code == 0, (name, report.findings)


@given(st.lists(st.binary(), max_size=40))
def test_roots_in_one_go_are_the_roots_one_by_one(leaves: list[bytes]) -> None:
    assert tree_roots(leaves) == [tree_root(leaves[: n + 1]) for n in range(len(leaves))]


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "publish it.py"
    path.write_text(text)
    words = [sys.executable, str(path)]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def test_a_note_is_published_by_any_command(folder: Path, home: Path, tmp_path: Path) -> None:
    there = tmp_path / "published"
    text = f"import sys; open({str(there)!r}, 'ab').write(sys.stdin.buffer.read())"
    command = program(tmp_path, text)
    result = call("checkpoint", "--publish", command, "--store", str(folder))
    assert result.exit_code == 0
    assert there.read_text().rstrip("\n") == result.stdout.rstrip("\n")
    anchored = call("verify", "--anchor", str(there), "--store", str(folder))
    assert anchored.exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [("import sys; sys.exit('no \\x1b[31mnetwork')", "no \\x1b[31mnetwork"), (None, "could not")],
)
def test_a_command_that_fails_is_told_and_the_checkpoint_stays(
    folder: Path, home: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    command = program(tmp_path, text) if text else "/no/such/program"
    result = call("checkpoint", "--publish", command, "--store", str(folder))
    assert isinstance(result.exception, RecordError)
    assert "the checkpoint was made" in str(result.exception)
    assert said in str(result.exception).lower() or said in str(result.exception)
    assert (folder / "checkpoints" / "checkpoint").exists()


def test_keys_are_changed_by_command(folder: Path, home: Path) -> None:
    first = json.loads(call("checkpoint", "--json", "--store", str(folder)).stdout)
    second = json.loads(call("checkpoint", "--new-key", "--json", "--store", str(folder)).stdout)
    assert first["key"] != second["key"]
    assert (first["size"], second["size"]) == (1, 2)
    for key in (first["key"], second["key"]):
        assert call("verify", "--key", key, "--store", str(folder)).exit_code == 0


def test_a_record_and_its_key_are_made_before_the_first_run(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "new"
    made = json.loads(call("init", "--json", "--store", str(place)).stdout)
    assert record_id(place) == made["store_id"]
    assert PublicKey.parse(made["key"]).name == f"sashizu.audit/{made['store_id']}"
    write(place)
    again = call("init", "--store", str(place))
    assert again.stdout.strip() == made["key"]
    assert call("checkpoint", "--store", str(place)).exit_code == 0
    assert call("verify", "--key", made["key"], "--store", str(place)).exit_code == 0


def test_a_forward_secure_record_is_checked_with_its_first_key(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "new"
    made = json.loads(call("init", "--forward-secure", "--json", "--store", str(place)).stdout)
    write(place)
    keys = set()
    for words in ([], [], ["--new-key"]):
        told = json.loads(call("checkpoint", *words, "--json", "--store", str(place)).stdout)
        keys.add(told["key"])
        write(place)
    assert len(keys) == 3
    assert made["key"] not in keys
    assert call("verify", "--key", made["key"], "--store", str(place)).exit_code == 0
    assert call("verify", "--store", str(place)).exit_code == 0
    assert "it changes with every checkpoint" in call("doctor", "--store", str(place)).stdout
    again = call("init", "--forward-secure", "--store", str(place))
    assert again.stdout.strip() == made["key"]


def test_checkpoints_at_the_same_time_lose_no_key(folder: Path, keys: Path) -> None:
    """Each takes the key of the one before out of the way: two at once would destroy both."""
    first = evolve(folder, keys)
    signers = [signer_of(folder, keys, record_id(folder)) for _ in range(3)]  # as others begin
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda signer: make_checkpoint(folder, signer), signers))
    assert sorted(one.size for one in made) == [1, 2, 3]
    note, _ = rotate(folder, keys)
    report = check(folder, first, note)
    assert (report.exit_code, report.signed) == (0, 4), report.findings


def test_who_began_before_a_key_was_changed_signs_with_the_new_one(
    folder: Path, keys: Path
) -> None:
    early = signer_of(folder, keys, record_id(folder))
    first = early.public
    rotate(folder, keys)
    make_checkpoint(folder, early)
    assert check(folder, first).exit_code == 0


def test_while_somebody_signs_nobody_else_changes_the_key(
    folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evolve(folder, keys)
    monkeypatch.setattr("sashizu_audit.signing._WAIT_S", 0)
    with signing_lock(folder):
        for change in (sign, rotate):
            with pytest.raises(RecordError, match="another process is signing"):
                change(folder, keys)
