"""The on-device agent registry: bundle, sparse package, and the program that keeps it."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zipfile
import zlib
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

import pytest
from sashizu_core.errors import UsageError
from sashizu_winai.cli import app
from sashizu_winai.errors import Failed, Missing, TimedOut
from sashizu_winai.registry import answers as asking
from sashizu_winai.registry.answers import ServerAnswers, ask_server
from sashizu_winai.registry.appx import appx_manifest, appx_version, logo
from sashizu_winai.registry.bundle import PROGRAM, bundle_manifest, bundle_of
from sashizu_winai.registry.files import planned, registration_files, write
from sashizu_winai.registry.odr import find_odr, probe_registry
from typer.testing import CliRunner

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="plays odr by a shell script")

TOOL = {"name": "delegate", "description": "Have an agent work.", "inputSchema": {"type": "object"}}
ANSWERS = ServerAnswers(
    {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"listChanged": True}},
        "serverInfo": {"name": "sashizu", "version": "0.1.0"},
        "instructions": "Ask.",
    },
    [TOOL],
)


def files(actions=None, publisher="CN=Example"):
    return registration_files(
        ANSWERS,
        folder=Path("/somewhere"),
        python="/py",
        words=["--budget", "2usd"],
        publisher=publisher,
        actions=actions,
    )


# --- what is written ------------------------------------------------------------------------------


def test_the_bundle_holds_its_manifest_and_a_program_and_is_always_the_same():
    manifest = bundle_manifest(
        ANSWERS, kind="python", entry=PROGRAM, command="/py", arguments=["x"]
    )

    content = bundle_of(manifest)

    assert bundle_of(manifest) == content
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert bundle.namelist() == ["manifest.json", PROGRAM]
        assert json.loads(bundle.read("manifest.json")) == manifest
        compile(bundle.read(PROGRAM), PROGRAM, "exec")


def test_windows_is_told_word_by_word_what_the_server_answers():
    told = json.loads(files()["manifest.json"])

    static = told["_meta"]["com.microsoft.windows"]["static_responses"]
    assert static["initialize"] == ANSWERS.initialize
    assert static["tools/list"] == {"tools": [TOOL]}
    assert (told["name"], told["version"]) == ("sashizu", "0.1.0")
    assert told["tools"] == [{"name": "delegate", "description": "Have an agent work."}]
    program = str(Path("/somewhere") / PROGRAM)
    assert told["server"]["mcp_config"]["args"] == [program, "--budget", "2usd"]
    with zipfile.ZipFile(io.BytesIO(files()["sashizu.mcpb"])) as bundle:
        bundled = json.loads(bundle.read("manifest.json"))
    assert bundled["server"]["mcp_config"]["args"][0] == "${__dirname}/server/main.py"


def test_the_package_names_the_server_and_the_actions_only_where_agents_are_hosted():
    without = ElementTree.fromstring(files()["msix/AppxManifest.xml"])
    names = [one.get("Name") for one in without.iter() if one.tag.endswith("AppExtension")]
    assert names == ["com.microsoft.windows.ai.mcpServer"]

    made = files(actions={"version": 3})
    within = ElementTree.fromstring(made["msix/AppxManifest.xml"])
    names = [one.get("Name") for one in within.iter() if one.tag.endswith("AppExtension")]
    assert names[1] == "com.microsoft.windows.ai.actions"
    (server,) = [one for one in within.iter() if one.tag.endswith("ExeServer")]
    assert (server.get("Executable"), server.get("Arguments")) == ("sashizu.exe", "winai host")
    for picture in ("StoreLogo", "Square150x150Logo", "Square44x44Logo"):
        assert f"Assets\\{picture}.png" in made["msix/AppxManifest.xml"].decode()
        assert made[f"msix/Assets/{picture}.png"].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("publisher", "name"), [("CN=A & B", "A & B"), ("CN=Example, O=Example", "Example")]
)
def test_a_publisher_is_written_as_it_is(publisher, name):
    text = appx_manifest(version="1.2.3rc4", publisher=publisher, clsid=UUID(int=1))
    root = ElementTree.fromstring(text)

    (identity,) = [one for one in root if one.tag.endswith("Identity")]
    assert identity.get("Publisher") == publisher
    assert identity.get("Version") == "1.2.3.0"
    assert name in [one.text for one in root.iter()]


@pytest.mark.parametrize(
    "publisher", ["", "Example", 'CN="x"', "CN=<x>", "CN=a\nb", "CN=a, O=\x01"]
)
def test_a_publisher_that_no_certificate_can_have_is_refused(publisher):
    with pytest.raises(UsageError, match="subject of a certificate"):
        files(publisher=publisher)


@pytest.mark.parametrize(("version", "told"), [("1", "1.0.0.0"), ("0.1.0.dev5", "0.1.0.0")])
def test_a_version_has_four_numbers(version, told):
    assert appx_version(version) == told


def test_a_picture_is_a_whole_png():
    content = logo(3)
    start = content.index(b"IDAT") + 4
    size = int.from_bytes(content[start - 8 : start - 4], "big")
    assert len(zlib.decompress(content[start : start + size])) == 3 * (1 + 3 * 3)


def test_files_are_written_once_and_others_only_with_leave(tmp_path):
    made = {"a": b"1", "b/c": b"2"}
    write(tmp_path, planned(tmp_path, made), force=False)
    assert {one.change for one in planned(tmp_path, made)} == {"same"}

    (tmp_path / "a").write_bytes(b"mine")
    plan = planned(tmp_path, made)
    with pytest.raises(UsageError, match="other files of these names: a;"):
        write(tmp_path, plan, force=False)
    assert (tmp_path / "a").read_bytes() == b"mine"
    write(tmp_path, plan, force=True)
    assert (tmp_path / "a").read_bytes() == b"1"


# --- what the server answers ----------------------------------------------------------------------

SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message"}))
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWERS[asked["method"]]}))
        sys.stdout.flush()
"""


def server(answers=None, body=SERVER):
    told = answers or {"initialize": dict(ANSWERS.initialize), "tools/list": {"tools": [TOOL]}}
    return [sys.executable, "-S", "-c", f"ANSWERS = {told!r}\n{body}"]


async def test_a_server_is_asked_what_it_says_of_itself():
    found = await ask_server(server(), timeout=30)
    assert (found.initialize, list(found.tools)) == (ANSWERS.initialize, [TOOL])
    assert (found.name, found.version) == ("sashizu", "0.1.0")


@pytest.mark.parametrize(
    ("command", "error", "why"),
    [
        (["/no/such/program"], Failed, "cannot be started"),
        (server(body="pass"), Failed, "ended|does not listen"),
        (server(body="input(); print('no json', flush=True); input()"), Failed, "no JSON"),
        (server({"initialize": {}, "tools/list": {"tools": []}}), Failed, "name, version"),
        (server({"initialize": "no"}), Failed, "answers initialize with"),
    ],
)
async def test_a_server_that_does_not_answer_says_why(command, error, why):
    with pytest.raises(error, match=why):
        await ask_server(command, timeout=30)


async def test_nobody_waits_for_a_server_that_says_nothing():
    with pytest.raises(TimedOut, match="did not answer"):
        await ask_server(server(body="sys = __import__('sys'); sys.stdin.read()"), timeout=0.3)


# --- the registry ---------------------------------------------------------------------------------

ODR = """#!/bin/sh
echo "$*" >> "$ODR_FOLDER/calls"
case "$2" in
  list) cat "$ODR_FOLDER/list" ;;
  add) test -f "$3" || { echo "no such file" >&2; exit 3; } ;;
  hang) exec sleep 60 ;;
esac
"""


@pytest.fixture
def odr(tmp_path, monkeypatch):
    """A program that plays odr; gives a function that reads what it was called with."""
    folder = tmp_path / "odr"
    folder.mkdir()
    program = folder / "odr"
    program.write_text(ODR)
    program.chmod(0o755)
    (folder / "list").write_text("[]")
    monkeypatch.setenv("ODR_FOLDER", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def calls():
        file = folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    calls.folder = folder
    return calls


@pytest.fixture
def register(tmp_path, monkeypatch):
    """The command, with a server that answers at once; gives its output."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    async def answered(command):
        return ANSWERS

    monkeypatch.setattr(asking, "ask_server", answered)

    def run(*words):
        result = CliRunner().invoke(app, ["register", *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@needs_sh
def test_registering_twice_changes_nothing_and_a_change_is_registered_anew(register, odr, tmp_path):
    told = register("--out", str(tmp_path / "out"))
    assert told.endswith("sashizu: registered\n")
    manifest = tmp_path / "out/manifest.json"
    assert odr() == ["mcp list", f"mcp add {manifest}"]

    known = {"servers": [{"id": "id-7", "manifest": {"name": "sashizu"}}]}
    (odr.folder / "list").write_text(json.dumps(known))
    assert register("--out", str(tmp_path / "out")).endswith("sashizu: unchanged\n")
    assert odr()[2:] == ["mcp list"]

    told = json.loads(
        register("--out", str(tmp_path / "out"), "--force", "--json", "--", "--budget", "2usd")
    )
    assert told["registry"] == {"server": "sashizu", "outcome": "renewed"}
    assert told["files"]["manifest.json"] == "other"
    assert odr()[3:] == ["mcp list", "mcp remove id-7", f"mcp add {manifest}"]


@needs_sh
def test_unregistering_takes_out_what_is_in(register, odr):
    assert register("--unregister") == "sashizu: absent\n"
    (odr.folder / "list").write_text('[{"name": "sashizu"}]')
    assert register("--unregister") == "sashizu: removed\n"
    assert odr()[-1] == "mcp remove sashizu"


def test_a_dry_run_writes_nothing_and_files_only_asks_no_registry(register, tmp_path):
    told = register("--dry-run")
    assert f"new   {tmp_path / 'home/windows-registration/sashizu.mcpb'}" in told
    assert not (tmp_path / "home/windows-registration").exists()

    register("--files-only")
    assert (tmp_path / "home/windows-registration/msix/AppxManifest.xml").is_file()


def test_without_the_registry_the_files_are_there_and_the_failure_says_what_to_do(
    register, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match=r"build 26220\.7262"):
        register("--out", str(tmp_path / "out"))
    assert (tmp_path / "out/sashizu.mcpb").is_file()
    assert probe_registry().state == "missing"


@needs_sh
async def test_what_the_registry_says_wrong_is_told(odr, tmp_path):
    found = find_odr()
    assert probe_registry().ready
    with pytest.raises(Failed, match="ended with 3: no such file"):
        await found.add(tmp_path / "none.json")
    (odr.folder / "list").write_text("\x1b[31mHello")
    with pytest.raises(Failed, match=r"no JSON: \[31mHello"):
        await found.listed("sashizu")
    (odr.folder / "list").write_text("")
    assert await found.listed("sashizu") is None


@needs_sh
async def test_nobody_waits_for_a_registry_that_hangs(odr):
    found = find_odr()
    with pytest.raises(TimedOut, match="did not end"):
        await type(found)(found.program, timeout=0.1)._run("mcp", "hang")


@pytest.mark.skipif(sys.platform != "win32", reason="Windows writes it down")
def test_a_registry_that_is_on_no_path_is_found_where_windows_wrote_it_down(tmp_path, monkeypatch):
    import winreg

    from sashizu_winai.registry.odr import _KEY

    program = tmp_path / "elsewhere.exe"
    program.write_bytes(b"MZ")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, _KEY) as key:
        winreg.SetValueEx(key, "Command", 0, winreg.REG_SZ, str(program))
    try:
        assert find_odr().program == program
        program.unlink()
        with pytest.raises(Missing):
            find_odr()
    finally:
        winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, _KEY)


@pytest.mark.parametrize("path", ["", ".", "folder"])
def test_the_current_folder_is_never_searched_for_the_registry(tmp_path, monkeypatch, path):
    folder = tmp_path / path
    folder.mkdir(exist_ok=True)
    for name in ("odr", "odr.exe", "odr.bat"):
        program = folder / name
        program.write_bytes(b"MZ")
        program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_odr(str(folder)).program.parent == folder

    with pytest.raises(Missing):
        find_odr(f"{path}{os.pathsep}{tmp_path / 'none'}")


async def test_a_registry_that_cannot_be_started_is_told(tmp_path):
    broken = tmp_path / ("odr.exe" if sys.platform == "win32" else "odr")
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with pytest.raises(Failed, match="cannot be started"):
        await find_odr(str(tmp_path)).listed("x")
