"""The Windows driver: the file that is built, and what it does once Wine has loaded it."""

import configparser
import importlib.util
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"
PYTHON = Path(os.environ.get("SASHIZU_WINPYTHON", NATIVE.parents[2] / ".winpython")).resolve()
# What the driver for Windows takes and the one for Wine does not: only an emulator answered it.
UNSEEN = {
    *("ObOpenObjectByPointer", "PsGetProcessExitStatus", "PsGetProcessImageFileName"),
    *("RtlAddAccessAllowedAce", "RtlCreateAcl", "RtlCreateSecurityDescriptor"),
    *("RtlSetDaclSecurityDescriptor", "SeExports", "ZwSetSecurityObject"),
}

pytestmark = pytest.mark.wine


def _loaded(name):
    spec = importlib.util.spec_from_file_location(name, NATIVE / "windows" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


build = _loaded("build")
image = _loaded("image")
wine = _loaded("wine")


@pytest.fixture(scope="module", autouse=True)
def _tools():
    if lack := build.missing() or wine.missing(PYTHON):
        pytest.skip(lack)


@pytest.fixture(scope="module")
def drivers(_tools, tmp_path_factory):
    """The one for Windows and the one for Wine."""
    folder = tmp_path_factory.mktemp("drivers")
    return build.build(folder / "windows"), build.build(folder / "wine", wine=True)


@pytest.fixture(scope="module")
def windows(_tools, tmp_path_factory):
    with wine.Wine(tmp_path_factory.mktemp("wine")) as up:
        yield up


def taken(driver):
    return {name for names in image.Image.of(driver).imports().values() for name in names}


def test_the_driver_is_built_as_windows_wants_it(drivers):
    for driver in drivers:
        assert image.flaws(image.Image.of(driver)) == []


def test_a_flaw_in_a_driver_is_found(drivers):
    data = bytearray(drivers[0].read_bytes())
    header = int.from_bytes(data[0x3C:0x40], "little")
    data[header + 24 + 70] = data[header + 24 + 71] = 0
    data[header + 22] |= 1
    found = image.flaws(image.Image(bytes(data)))
    assert found == [
        "characteristics 0x0 lack some of 0x1c0",
        "it cannot be loaded at another address",
    ]


def test_the_driver_takes_nothing_that_wine_lacks_or_that_the_checklist_does_not_name(drivers):
    for_windows, for_wine = drivers
    assert {name.lower() for name in image.Image.of(for_windows).imports()} == {
        *("hal.dll", "ntoskrnl.exe"),
    }
    assert image.lacking(image.Image.of(for_wine), wine.LIBRARIES) == []
    assert taken(for_windows) - taken(for_wine) == UNSEEN
    checklist = (NATIVE / "windows" / "CHECKLIST.md").read_text("utf-8")
    assert [name for name in sorted(UNSEEN) if f"`{name}`" not in checklist] == []


def test_what_wine_only_stands_in_for_is_found(drivers):
    kernel = image.Image.of(wine.LIBRARIES / "ntoskrnl.exe")
    assert {"ExQueueWorkItem", "PsGetProcessImageFileName"} <= kernel.stubs()
    assert not {"IoCreateDevice", "KeSetEvent", "ZwCreateSection"} & kernel.stubs()
    missing = image.lacking(image.Image.of(drivers[0]), wine.LIBRARIES)
    assert "ntoskrnl.exe!PsGetProcessImageFileName" in missing


def test_the_inf_names_only_what_it_has_and_this_version():
    text = (NATIVE / "windows" / "sashizu.inf").read_text("utf-8")
    inf = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=(";",), allow_no_value=True, interpolation=None
    )
    inf.optionxform = str
    inf.read_string(text)
    install, services = inf["DefaultInstall.NTamd64"], inf["DefaultInstall.NTamd64.Services"]
    _, _, service = services["AddService"].split(", ")
    assert list(inf[install["CopyFiles"]]) == list(inf["SourceDisksFiles"]) == ["sashizu.sys"]
    assert inf[service]["ServiceBinary"] == r"%13%\sashizu.sys"
    assert set(re.findall(r"%([A-Za-z]+)%", text)) == set(inf["Strings"])
    project = tomllib.loads((NATIVE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert inf["Version"]["DriverVer"].split(",")[1] == f"{project['version']}.0"


def test_the_python_client_has_the_loaded_driver_keep_its_word_twice(drivers, windows):
    for more in ([], ["-k", "turn or closes"]):  # a second life after the end of the first
        windows.load(drivers[1])
        ended = windows.checks(PYTHON, *more)
        windows.unload()
        assert ended.returncode == 0, ended.stdout
        assert re.search(r"^\d+ passed", ended.stdout, re.MULTILINE), ended.stdout


def test_the_checks_find_a_driver_that_frees_nothing_when_a_handle_closes(windows, tmp_path):
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    source = copy / "windows" / "driver.c"
    right = "\tdriver->MajorFunction[IRP_MJ_CLOSE] = szd_on_close;\n"
    assert right in source.read_text("utf-8")
    source.write_text(source.read_text("utf-8").replace(right, ""), "utf-8")
    windows.load(build.build(tmp_path / "built", wine=True, native=copy))
    ended = windows.checks(PYTHON, "-k", "one_collector_until_it_closes")
    windows.unload()
    assert ended.returncode == 1, ended.stdout
    assert "DriverBusy" in ended.stdout
