"""Windows AI over our loaded driver, on a Windows Python: registered, advised, given back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from sashizu_gpu_driver.fake import FakeDevice, FakeState, write_state
from windows_site import PLATFORM, ROOT, uv
from windows_suites import PYTHON, wine

MIB = 1 << 20
NAMES = ("core", "gpu-driver", "winai")
PROGRAM = Path(__file__).with_name("three_layers.py")

pytestmark = [pytest.mark.wine, pytest.mark.timeout(600)]


def _build():
    place = ROOT / "packages/gpu-driver/native/windows/build.py"
    spec = importlib.util.spec_from_file_location("build", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["build"] = module
    spec.loader.exec_module(module)
    return module


def site(folder):
    """What these packages need on Windows, as the lock file has it, by digest."""
    asked = folder / "asked.txt"
    of = [word for name in NAMES for word in ("--package", f"sashizu-{name}")]
    export = (uv(), "export", "-q", "--frozen", "--no-default-groups", *of, "--no-emit-workspace")
    subprocess.run([*export, "-o", str(asked)], cwd=ROOT, check=True, timeout=300)
    into = ("--target", str(folder / "site"), "--only-binary", ":all:", "--require-hashes")
    run = (uv(), "pip", "install", "-q", "--no-deps", *PLATFORM, *into, "-r", str(asked))
    subprocess.run(run, check=True, timeout=300, cwd=ROOT)
    return folder / "site"


def test_the_runtime_registers_asks_for_the_path_and_submits_what_was_measured(tmp_path, capsys):
    build = _build()
    if lack := build.missing() or wine.missing(PYTHON):
        pytest.skip(lack)
    readings = {"memory_total_bytes": 24 * MIB, "memory_used_bytes": 6 * MIB}
    device = FakeDevice(id="GPU-1", name="A card", vendor="nvidia", readings=readings)
    write_state(tmp_path / "devices.json", FakeState(devices=[device]))
    modules = [site(tmp_path), *(ROOT / f"packages/{name}/src" for name in NAMES)]
    words = ("-X", "utf8", *map(wine.spelled, (PROGRAM, tmp_path / "devices.json")))
    driver = build.build(tmp_path / "driver", wine=True)
    with wine.Wine(tmp_path / "wine") as up:
        up.load(driver)
        ended = up.python(PYTHON, words, modules)
        up.unload()

    assert ended.returncode == 0, ended.stdout
    assert "all three layers answered" in ended.stdout
    with capsys.disabled():
        print(ended.stdout)
