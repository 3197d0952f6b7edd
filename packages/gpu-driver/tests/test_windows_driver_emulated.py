"""The driver for Windows, not the one for Wine, from its entry to its unloading in an emulator."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"
EMULATION = NATIVE / "windows" / "emulation"
LIMIT = 300.0  # seconds; a driver takes two of the processor
SHUT = "\treturn szd_complete(irp, STATUS_SUCCESS, 0);\n}\n\nstatic int szd_alloc"
WRONG = {  # what has to be said of a driver that has the other line in place of the first
    "not ok - only the system and administrators may open it": (
        "SeExports->SeAliasAdminsSid",
        "SeExports->SeWorldSid",
    ),
    "not ok - a frame too short is refused as SIZE": (
        "szd_check(function, frame, in)",
        "szd_check(function, frame, szd_frame_bytes(function))",
    ),
    "not ok - CLEANUP and CLOSE: the first of them frees all of a handle": (
        "\tdriver->MajorFunction[IRP_MJ_CLEANUP] = szd_on_close;\n",
        "",
    ),
    "not ok - unloading deletes the link": (
        "IoDeleteSymbolicLink(&link);\n\tszd_waits_end",
        "(void)link;\n\tszd_waits_end",
    ),
    "  a request is completed twice": (SHUT, f"\tszd_complete(irp, 0, 0);\n{SHUT}"),
}

pytestmark = pytest.mark.wine


def _loaded(name):
    spec = importlib.util.spec_from_file_location(name, NATIVE / "windows" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


build = _loaded("build")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """One with the emulator and nothing else."""
    if lack := build.missing():
        pytest.skip(lack)
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv: it installs the emulator")
    folder = tmp_path_factory.mktemp("emulator") / "venv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    found = folder / "bin" / "python"
    wanted = ("--require-hashes", "-r", EMULATION / "requirements.txt")
    words = [uv, "pip", "install", "-q", "--python", found, *wanted]
    got = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    if got.returncode:
        pytest.skip(f"the emulator cannot be installed: {got.stderr.strip()[-500:]}")
    return found


def emulated(python, driver):
    words = [python, "-W", "ignore::UserWarning", EMULATION / "checks.py", NATIVE / "vectors.json"]
    return subprocess.run(
        ["nice", "-n", "10", *words, driver],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_the_driver_for_windows_keeps_its_word_from_entry_to_unloading(python, tmp_path):
    ended = emulated(python, build.build(tmp_path))
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("\nok - ") > 35
    assert "not ok" not in ended.stdout


def test_the_emulation_finds_all_that_is_wrong_in_a_driver(python, tmp_path):
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    source = copy / "windows" / "driver.c"
    text = source.read_text("utf-8")
    for right, wrong in WRONG.values():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    source.write_text(text, "utf-8")
    ended = emulated(python, build.build(tmp_path / "built", native=copy))
    assert ended.returncode == 1, ended.stdout
    assert [complaint for complaint in WRONG if complaint not in ended.stdout] == [], ended.stdout
    assert "\nok - a frame of another version is refused as ABI" in ended.stdout
