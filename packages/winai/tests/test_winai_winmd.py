"""Metadata files of Windows, read on any system. They are made here, as the format says."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import UsageError
from sashizu_winai.capabilities import Capability
from sashizu_winai.cli import app
from sashizu_winai.errors import Missing, Unsupported
from sashizu_winai.winmd import command
from sashizu_winai.winmd.finding import winmd_files
from sashizu_winai.winmd.metadata import BadWinmd, types_of
from sashizu_winai.winmd.offered import capability_of, read_files
from typer.testing import CliRunner

PUBLIC, HIDDEN, INTERFACE = 0x4001, 0x40A0, 0x40A1
OBJECT, ENUM, DELEGATE = 1, 2, 3
BASES = (("System", "Object"), ("System", "Enum"), ("System", "MulticastDelegate"))


def winmd(types, *, wide: bool = False, tables_present: int = 0b111) -> bytes:
    """A file with these types as (flags, namespace, name, base), where 0 is no base.

    `wide` makes the indices into the heap of strings four bytes long.
    """
    heap, index = bytearray(b"\0"), {}

    def text(value: str) -> int:
        if value not in index:
            index[value] = len(heap)
            heap.extend(value.encode() + b"\0")
        return index[value]

    form = "I" if wide else "H"
    module = struct.pack(f"<H{form}3H", 0, text("m.winmd"), 1, 0, 0)
    refs = b"".join(struct.pack(f"<H2{form}", 4, text(n), text(ns)) for ns, n in BASES)
    defs = b"".join(
        struct.pack(f"<I2{form}3H", flags, text(name), text(ns), base << 2 | 1 if base else 0, 1, 1)
        for flags, ns, name, base in types
    )
    head = struct.pack("<I4BQQ", 0, 2, 0, int(wide), 1, tables_present, 0)
    counts = struct.pack("<3I", 1, len(BASES), len(types))
    heap.extend(bytes(-len(heap) % 4))
    streams = (head + counts + module + refs + defs, bytes(heap))
    return pe(metadata(streams))


def metadata(streams) -> bytes:
    version = b"WindowsRuntime 1.4\0\0"
    named = ((b"#~\0\0", streams[0]), (b"#Strings\0\0\0\0", streams[1]))
    at = 16 + len(version) + 4 + sum(8 + len(name) for name, _ in named)
    root = struct.pack("<I2HII", 0x424A5342, 1, 1, 0, len(version)) + version
    root += struct.pack("<2H", 0, len(named))
    body = b""
    for name, stream in named:
        root += struct.pack("<2I", at + len(body), len(stream)) + name
        body += stream
    return root + body


def pe(content: bytes) -> bytes:
    """A PE file of one section, which is at 0x2000 in memory and holds header and metadata."""
    cli = struct.pack("<I2H2I", 72, 2, 5, 0x2048, len(content)) + bytes(56)
    section = cli + content
    optional = struct.pack("<H90x", 0x10B) + struct.pack("<I", 16)
    optional += bytes(8 * 14) + struct.pack("<2I", 0x2000, 72) + bytes(8)
    headers = b"MZ" + bytes(58) + struct.pack("<I", 64)
    headers += b"PE\0\0" + struct.pack("<2H12x2H", 0x14C, 1, len(optional), 0x2102) + optional
    headers += struct.pack("<8s4I16x", b".text", len(section), 0x2000, len(section), 0x200)
    return headers.ljust(0x200, b"\0") + section


TYPES = [
    (0, "", "<Module>", 0),
    (PUBLIC, "Windows.AI.Actions", "ActionRuntime", OBJECT),
    (INTERFACE, "Windows.AI.Actions.Provider", "IActionProvider", 0),
    (PUBLIC, "Windows.AI.Agents.Mcp", "McpMessageDirection", ENUM),
    (PUBLIC, "Windows.Foundation", "EventHandler", DELEGATE),
    (HIDDEN, "Windows.AI.Actions", "IActionRuntime", 0),
]


@pytest.mark.parametrize("wide", [False, True])
def test_the_public_types_of_a_file_are_told_with_what_they_are(wide):
    found = [(one.full_name, one.kind) for one in types_of(winmd(TYPES, wide=wide))]

    assert found == [
        ("Windows.AI.Actions.ActionRuntime", "class"),
        ("Windows.AI.Actions.Provider.IActionProvider", "interface"),
        ("Windows.AI.Agents.Mcp.McpMessageDirection", "enum"),
        ("Windows.Foundation.EventHandler", "delegate"),
    ]


@pytest.mark.network
@pytest.mark.parametrize("wide", [False, True])
def test_a_reader_of_others_finds_the_same_in_the_files_that_are_made_here(tmp_path, wide):
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("the other reader is fetched by uv")
    site, file = tmp_path / "site", tmp_path / "a.winmd"
    fetch = (uv, "pip", "install", "-q", "--no-deps", "--target", str(site), "winmd==2.4.0")
    subprocess.run(fetch, check=True, timeout=120)
    file.write_bytes(winmd(TYPES, wide=wide))
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from winmd.reader import cache, get_category\n"
        f"for space, found in cache([{str(file)!r}]).namespaces().items():\n"
        "    for name, one in found.types.items():\n"
        "        print(space + '.' + name, get_category(one).name.removesuffix('_type'))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    public = [f"{one.full_name} {one.kind}" for one in types_of(file.read_bytes())]
    hidden = "Windows.AI.Actions.IActionRuntime interface"
    assert sorted(told.stdout.splitlines()) == sorted([*public, hidden])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no PE file"),
        (b"MZ" + bytes(98), "no PE header"),
        (winmd(TYPES)[:-40], "outside of the file"),
        (winmd(TYPES)[:0x250], "ends in the middle"),
        (winmd(TYPES).replace(b"BSJB", b"XXXX"), "signature"),
        (winmd(TYPES).replace(b"#Strings", b"#Nothing"), "no stream"),
        (winmd(TYPES, tables_present=0b1111), "not optimised"),
        (winmd([(PUBLIC, "A", "B", 200)]), "not there"),
        (winmd([(PUBLIC, "A", "B" * 2000, 0)]), "no end"),
        (
            winmd([(PUBLIC, "A", "\N{LATIN SMALL LETTER A WITH DIAERESIS}", 0)]).replace(
                b"\xc3\xa4", b"\xff\xfe"
            ),
            "UTF-8",
        ),
    ],
)
def test_what_is_no_metadata_says_what_is_wrong(content, why):
    with pytest.raises(BadWinmd, match=why):
        types_of(content)


@given(st.data())
def test_no_damage_does_anything_but_being_refused(data):
    content = bytearray(winmd(TYPES))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        types_of(bytes(content))
    except BadWinmd:
        return


@pytest.mark.parametrize(
    ("namespace", "capability"),
    [
        ("Windows.AI.Actions.Hosting", Capability.ACTIONS),
        ("Windows.AI.Actions.Provider", Capability.ACTIONS_PROVIDER),
        ("Windows.AI.ActionsOfOthers", None),
        ("Microsoft.Windows.AI.MachineLearning", Capability.WINDOWS_ML),
        ("Microsoft.Windows.AI.Text", Capability.LANGUAGE_MODEL),
        ("Microsoft.Windows.AI.Imaging", None),
    ],
)
def test_a_namespace_says_what_its_types_are_for(namespace, capability):
    assert capability_of(namespace) is capability


@pytest.fixture
def machine(tmp_path):
    """The folders of a Windows machine, with metadata in each; as (environment, files)."""
    files = [
        tmp_path / "Windows/System32/WinMetadata/Windows.AI.winmd",
        tmp_path / "x86/Windows Kits/10/UnionMetadata/10.0.28000.0/Windows.winmd",
        tmp_path / "x86/Windows Kits/10/References/10.0.28000.0/Windows.AI/6.0.0.0/a.winmd",
        tmp_path / "apps/WindowsApps/Microsoft.WindowsAppRuntime.2_x64/b.winmd",
        tmp_path / "me/.nuget/packages/microsoft.windowsappsdk.ai/2.5.1/lib/uap/c.winmd",
    ]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(winmd(TYPES))
    environ = {
        "SystemRoot": str(tmp_path / "Windows"),
        "ProgramFiles(x86)": str(tmp_path / "x86"),
        "ProgramFiles": str(tmp_path / "apps"),
        "USERPROFILE": str(tmp_path / "me"),
    }
    return environ, files


def test_files_are_found_in_windows_in_the_sdk_and_in_packages(machine):
    environ, files = machine
    assert list(winmd_files(environ)) == files
    assert list(winmd_files({})) == []


def test_each_type_is_told_once_and_a_broken_file_harms_no_other(machine, tmp_path):
    _, files = machine
    broken = tmp_path / "broken.winmd"
    broken.write_bytes(b"nothing")

    found = read_files([broken, *files, tmp_path / "absent.winmd"])

    assert [one.type.name for one in found.apis] == [
        "ActionRuntime",
        "IActionProvider",
        "McpMessageDirection",
    ]
    assert {one.file for one in found.apis} == {files[0]}
    assert [bool(one.fault) for one in found.files] == [True, *[False] * 5, True]
    assert (found.files[1].types, found.files[1].of_windows_ai) == (4, 3)


def apis(*words, code=0):
    result = CliRunner().invoke(app, ["apis", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_the_command_lists_files_and_folders_that_are_named(machine, tmp_path):
    told = apis("--winmd", str(tmp_path / "Windows")).stdout.splitlines()
    assert told[1].split() == [
        "actions_provider",
        "interface",
        "Windows.AI.Actions.Provider.IActionProvider",
    ]
    found = json.loads(apis("--winmd", str(tmp_path / "me"), "--json").stdout)
    assert found["apis"][0]["capability"] == "actions"
    assert found["files"][0]["of_windows_ai"] == 3

    other = tmp_path / "other.winmd"
    other.write_bytes(winmd([(PUBLIC, "Windows.Foundation", "Uri", OBJECT)]))
    assert apis("--winmd", str(other)).stdout == "nothing of Windows AI\n"

    other.write_bytes(b"MZ")
    assert "not read" in apis("--winmd", str(other), code=1).stderr


def test_a_name_of_a_stranger_cannot_move_the_cursor(tmp_path):
    file = tmp_path / "a.winmd"
    file.write_bytes(winmd([(PUBLIC, "Windows.AI", "Nice\x1b[2J\nactions", OBJECT)]))

    told = apis("--winmd", str(file)).stdout
    assert "\x1b" not in told
    assert len(told.splitlines()) == 1
    assert "Nice" in told


def test_many_streams_that_share_their_bytes_take_no_more_memory():
    root = struct.pack("<I2HII", 0x424A5342, 1, 1, 0, 4) + bytes(4)
    shared = 200_000
    names = [f"{number:07}".encode() + b"\0" for number in range(2_000)]
    root += struct.pack("<2H", 0, len(names))
    root += b"".join(struct.pack("<2I", 0, shared) + name for name in names)
    content = pe(root + bytes(shared))

    tracemalloc.start()
    try:
        with pytest.raises(BadWinmd, match="no stream"):
            types_of(content)
        assert tracemalloc.get_traced_memory()[1] < 20 * shared
    finally:
        tracemalloc.stop()


def test_what_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        apis("--winmd", str(tmp_path / "none.winmd"))
    with pytest.raises(UsageError, match=r"holds no \.winmd"):
        apis("--winmd", str(tmp_path))


def test_a_machine_without_metadata_says_why(machine, monkeypatch):
    with pytest.raises(Unsupported, match="only Windows and its SDK"):
        command._found("linux")
    environ, files = machine
    for name in ("SystemRoot", "ProgramFiles(x86)", "ProgramFiles", "USERPROFILE"):
        monkeypatch.setenv(name, environ[name])
    assert command._found("win32") == files
    for name in ("SystemRoot", "ProgramFiles(x86)", "ProgramFiles"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("USERPROFILE", "/nowhere")
    with pytest.raises(Missing, match="install the SDK"):
        command._found("win32")
