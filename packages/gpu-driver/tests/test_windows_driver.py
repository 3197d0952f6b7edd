"""The Windows driver, as it is built: for Windows, and the one that people load under Wine."""

import importlib.util
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"

pytestmark = pytest.mark.wine


def _build():
    spec = importlib.util.spec_from_file_location("windows_build", NATIVE / "windows" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _build()


@pytest.fixture(scope="module", autouse=True)
def _tools():
    if lack := build.missing():
        pytest.skip(lack)


@pytest.mark.parametrize("for_wine", [False, True], ids=["windows", "wine"])
def test_the_driver_is_built_as_windows_wants_it(tmp_path, for_wine):
    driver = build.build(tmp_path, wine=for_wine)
    assert build.flaws(driver.read_bytes()) == []
    taken = build.imports(driver)
    assert "IoCreateDevice" in taken
    assert ("ZwSetSecurityObject" in taken) is not for_wine  # Wine has no rights on devices


def test_a_flaw_in_a_driver_is_found(tmp_path):
    image = bytearray(build.build(tmp_path).read_bytes())
    header = int.from_bytes(image[0x3C:0x40], "little")
    image[header + 24 + 70] = image[header + 24 + 71] = 0
    image[header + 24 + 112] = 1
    assert [flaw.split()[0] for flaw in build.flaws(bytes(image))] == ["characteristics", "it"]
