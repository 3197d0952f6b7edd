"""Checkpoints find what a chain alone cannot, and hold to the formats they follow."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sashizu_audit import AuditWriter, checkpoints, verify_record
from sashizu_audit.chain import link, split_line
from sashizu_audit.checkpoints import read_digests, tree_root
from sashizu_audit.cli import app
from sashizu_audit.findings import WriterScan
from sashizu_audit.notes import Checkpoint, PublicKey, Signer, open_signer, read_notes
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import RecordReport, record_id
from sashizu_audit.verify_notes import NoteChecks
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from typer.testing import CliRunner, Result

SMALL = WriterOptions(ballast_bytes=0)


def write(folder: Path, events: int = 4) -> Path:
    with AuditWriter(folder, options=SMALL) as writer:
        for number in range(events):
            writer.write([Event("tool.requested", {"tool": f"t{number}"})])
        return writer.path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "audit")
    return tmp_path / "audit"


@pytest.fixture
def signer(tmp_path: Path, folder: Path) -> Signer:
    return open_signer(tmp_path / "keys", record_id(folder))


def check(folder: Path, signer: Signer, *anchors: str) -> RecordReport:
    notes = [note for anchor in anchors for note in read_notes(anchor)]
    return verify_record(folder, key=signer.public, anchors=notes)


def said(report: RecordReport) -> str:
    return "\n".join(f"{found.file}: {found.reason}" for found in report.all_findings)


def anew(lines: list[bytes]) -> bytes:
    """These lines with hashes that fit."""
    head, made = b"0" * 64, b""
    for line in lines:
        parts = split_line(line)
        assert parts is not None
        head = link(head, parts[0])
        made += parts[0] + b',"h":"' + head + b'"}\n'
    return made


# --- what they find -------------------------------------------------------------------------------


def test_a_record_that_goes_on_stays_intact_under_its_checkpoints(
    folder: Path, signer: Signer
) -> None:
    anchors = []
    for _ in range(3):
        write(folder)
        anchors.append(make_checkpoint(folder, signer).note)
    write(folder)
    report = check(folder, signer, *anchors)
    assert (report.exit_code, report.signed) == (0, 3)
    assert report.all_findings == ()


def test_a_cut_end_is_found(folder: Path, signer: Signer) -> None:
    path = next((folder / "hot").iterdir())
    lines = path.read_bytes().splitlines(keepends=True)
    make_checkpoint(folder, signer)
    path.write_bytes(b"".join(lines[:-2]))
    report = check(folder, signer)
    assert report.exit_code == 1
    assert "events 4 to 5 were cut off: checkpoint 1 knows it up to event 5" in said(report)


def test_a_chain_that_was_computed_anew_is_found(folder: Path, signer: Signer) -> None:
    path = next((folder / "hot").iterdir())
    make_checkpoint(folder, signer)
    lines = path.read_bytes().splitlines()
    path.write_bytes(anew([line.replace(b'"t1"', b'"t9"') for line in lines]))
    report = check(folder, signer)
    assert report.exit_code == 1
    assert "event 5 is not the one that checkpoint 1 knows" in said(report)


@pytest.mark.parametrize("emptied", [False, True])
def test_a_writer_that_is_gone_or_emptied_is_found(
    folder: Path, signer: Signer, emptied: bool
) -> None:
    path = next((folder / "hot").iterdir())
    make_checkpoint(folder, signer)
    if emptied:
        path.write_bytes(b"")
    else:
        path.unlink()
    assert check(folder, signer).exit_code == 1


def test_a_writer_that_is_still_writing_goes_on_after_a_checkpoint(
    folder: Path, signer: Signer
) -> None:
    with AuditWriter(folder, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "a"})])
        make_checkpoint(folder, signer)
        writer.write([Event("tool.requested", {"tool": "b"})])
        assert check(folder, signer).exit_code == 0
    assert check(folder, signer).exit_code == 0


# --- manipulated checkpoints ----------------------------------------------------------------------


def test_a_changed_digest_is_found(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    path = folder / "checkpoints" / "000000.json"
    path.write_bytes(path.read_bytes().replace(b'"seq":5', b'"seq":4'))
    assert "are not those it was signed over" in said(check(folder, signer))


def test_any_changed_byte_of_the_note_is_found(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    path = folder / "checkpoints" / "checkpoint"
    whole = path.read_bytes()
    for place in range(len(whole) - 1):  # its last newline says nothing
        changed = bytearray(whole)
        changed[place] ^= 0x04
        path.write_bytes(changed)
        assert check(folder, signer).exit_code == 1, place


def test_checkpoints_that_were_rolled_back_are_found(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    before = (folder / "checkpoints" / "checkpoint").read_bytes()
    write(folder)
    anchor = make_checkpoint(folder, signer).note
    (folder / "checkpoints" / "000001.json").unlink()
    (folder / "checkpoints" / "checkpoint").write_bytes(before)
    assert "checkpoint 2, which it tells of, was removed" in said(check(folder, signer))
    assert "signed over 2 digests and 1 are there" in said(check(folder, signer, anchor))


def test_removed_checkpoints_are_missed(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    make_checkpoint(folder, signer)
    shutil.rmtree(folder / "checkpoints")
    assert check(folder, signer).exit_code == 1


def test_a_missing_digest_is_found_and_takes_no_further_checkpoint(
    folder: Path, signer: Signer
) -> None:
    make_checkpoint(folder, signer)
    make_checkpoint(folder, signer)
    (folder / "checkpoints" / "000000.json").unlink()
    assert "000000.json: the digest is missing" in said(check(folder, signer))
    with pytest.raises(RecordError, match="checkpoint 1 of the record"):
        make_checkpoint(folder, signer)


def test_a_record_rewritten_with_another_key_is_found_by_the_key_and_by_an_anchor(
    folder: Path, signer: Signer, tmp_path: Path
) -> None:
    anchor = make_checkpoint(folder, signer).note
    shutil.rmtree(folder / "checkpoints")
    for path in (folder / "hot").iterdir():
        path.unlink()
    write(folder)
    other = open_signer(tmp_path / "others", record_id(folder))
    make_checkpoint(folder, other)
    assert check(folder, other).exit_code == 0
    assert check(folder, other, anchor).exit_code == 1
    assert "it is not signed by the key" in said(check(folder, signer))


def test_what_a_lost_key_leaves_unchecked_is_said(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    report = verify_record(folder)
    assert report.exit_code == 3
    assert "there is no key" in said(report)


def test_a_key_without_any_checkpoint_is_worth_telling(folder: Path, signer: Signer) -> None:
    assert check(folder, signer).exit_code == 3


def test_an_anchor_of_another_record_is_told(folder: Path, signer: Signer, tmp_path: Path) -> None:
    make_checkpoint(folder, signer)
    write(tmp_path / "other")
    foreign = open_signer(tmp_path / "keys", record_id(tmp_path / "other"))
    anchor = make_checkpoint(tmp_path / "other", foreign).note
    assert "speaks of another record" in said(check(folder, signer, anchor))


# --- formats --------------------------------------------------------------------------------------

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
LEAVES += ["606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_the_tree_is_that_of_certificate_transparency(size: int) -> None:
    assert tree_root([bytes.fromhex(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size]


def test_a_note_that_others_signed_is_read_and_checked() -> None:
    key = PublicKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = (
        b"If you think cryptography is the answer to your problem,\n"
        b"then you don't know what your problem is.\n"
    )
    import base64

    data = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ryy"
    signature = base64.b64decode(data + "BwJnAM=")
    assert key.signed(Checkpoint("", 0, b"", text, (("PeterNeumann", signature),)))
    assert not key.signed(Checkpoint("", 0, b"", text + b"\n", (("PeterNeumann", signature),)))
    assert PublicKey.parse(key.line) == key


@pytest.mark.parametrize(
    "line", ["", "a+b", "a+00000000+AAAA", "a+zz+!!", "PeterNeumann+c74f20a3+"]
)
def test_what_is_no_public_key_is_said_to_be_none(line: str) -> None:
    with pytest.raises(UsageError, match="is no public key"):
        PublicKey.parse(line)


def test_the_private_key_is_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    first = open_signer(tmp_path / "keys", "id")
    path = tmp_path / "keys" / "id.pem"
    path.chmod(0o644)
    assert open_signer(tmp_path / "keys", "id").public == first.public
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_no_key_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "id.pem").write_text("no key")
    with pytest.raises(RecordError, match="cannot be used"):
        open_signer(tmp_path, "id")


# --- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path))
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=True)


def test_a_record_is_signed_and_checked_by_command(folder: Path, home: Path) -> None:
    anchor = home / "elsewhere"
    assert call("checkpoint", "--store", str(folder), "--append", str(anchor)).exit_code == 0
    made = call("checkpoint", "--store", str(folder), "--append", str(anchor))
    assert made.exit_code == 0
    assert len(read_notes(anchor.read_text("utf-8"))) == 2
    line = made.stderr.split("public key: ")[1].strip()
    for key in (line, str(next((home / "keys").glob("*.pub")))):
        checked = call("verify", "--store", str(folder), "--anchor", str(anchor), "--key", key)
        assert checked.exit_code == 0
        assert "checkpoints: 2, under a signature" in checked.stdout
        assert checked.stdout.endswith("\nintact\n")


def test_several_records_are_checked_and_the_worst_counts(folder: Path, home: Path) -> None:
    other = home / "other"
    with AuditWriter(other) as writer:
        writer.write([Event("tool.requested", {"step": 1})])
    both = ("--store", str(folder), "--store", str(other))
    good = call("verify", *both)
    assert (good.exit_code, good.stdout.splitlines()[-1]) == (0, "2 of 2 records are intact")
    path = next((folder / "hot").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"t1"', b'"t7"'))
    bad = call("verify", *both)
    assert (bad.exit_code, bad.stdout.splitlines()[-1]) == (1, "1 of 2 records are intact")
    found = json.loads(call("verify", *both, "--format", "json").stdout)
    assert [record["exit_code"] for record in found["records"]] == [1, 0]
    assert isinstance(call("verify", *both, "--key", "x").exception, UsageError)
    assert isinstance(call("verify", *both, "--store", str(other)).exception, UsageError)


def test_damage_is_told_by_place_and_by_exit_code(folder: Path, home: Path) -> None:
    path = next((folder / "hot").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"t1"', b'"t7"'))
    checked = call("verify", "--store", str(folder))
    assert checked.exit_code == 1
    assert f"  {path.name}:3: it was changed after it was written" in checked.stdout.splitlines()
    found = json.loads(call("verify", "--store", str(folder), "--format", "json").stdout)
    assert (found["verdict"], found["exit_code"]) == ("damaged", 1)
    assert found["writers"][0]["findings"][0]["line"] == 3


@pytest.mark.parametrize(
    "words",
    [["--format", "xml"], ["--nope"], ["--key", "a+b"], ["--key", "none"], ["--anchor", "none"]],
)
def test_a_wrong_call_is_no_verdict(folder: Path, home: Path, words: list[str]) -> None:
    result = call("verify", "--store", str(folder), *words)
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 64


def test_a_file_without_a_note_is_no_anchor(folder: Path, home: Path) -> None:
    (home / "empty").write_text("nothing\n")
    result = call("verify", "--store", str(folder), "--anchor", str(home / "empty"))
    assert "holds no signed note" in str(result.exception)


def test_of_many_checkpoints_each_digest_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 200
    leaves = tuple(b"%d" % number for number in range(many))
    roots = [tree_root(leaves[:size]).hex() for size in range(many + 1)]
    told: list[tuple[Path, int, dict[str, Any]]] = [
        (tmp_path / "a.jsonl", size, {"size": size, "root": roots[size]})
        for size in range(1, many + 1)
    ]
    told[6][2]["root"] = roots[6]
    scan = WriterScan("a", checkpoints=[*told, (tmp_path, 0, {"size": many + 1, "root": roots[1]})])
    hashed: list[bytes] = []

    def counted(data: bytes) -> Any:
        hashed.append(data)
        return sha256(data)

    monkeypatch.setattr(checkpoints, "sha256", counted)
    NoteChecks(tmp_path, checkpoints.Digests(leaves), "x", None).recorded(scan)
    assert [found.line for found in scan.findings] == [7, 0]
    assert len(hashed) < 12 * many


def test_an_absurd_number_fills_no_memory_and_is_found(folder: Path) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "999999999999.json").write_text("{}")
    report = verify_record(folder)
    assert report.exit_code == 1
    assert len(read_digests(folder).leaves) < 200
