"""Windows AI on a Windows Python: the real projections, with components of ours behind them.

One Windows process runs all checks of `packages/winai/tests/wine`, those here of three layers
together, and the tests of the package; it says of each how it ended, and each is a test here.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest
from windows_onnx import BUILDS, WEIGHTS, model
from windows_onnx import site as site_of_build
from windows_site import PLATFORM, ROOT, uv
from windows_suites import PYTHON, harness, wine

WINAI = ROOT / "packages/winai"
HERE = WINAI / "tests/wine"
LAYERS = Path(__file__).parent
PACKAGES = ("core", "winai", "gpu-driver", "audit", "budget", "offline")
SOURCES = tuple(ROOT / f"packages/{name}/src" for name in PACKAGES)
COMPILE = ("x86_64-w64-mingw32-gcc", "-shared", "-O2", "-s", "-Wall", "-Wextra", "-Werror")
LIBRARIES = {
    "component.c": "component.dll",
    "bootstrap.c": "Microsoft.WindowsAppRuntime.Bootstrap.dll",
}
OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "--noconftest", "-c", "NUL", "--import-mode=importlib"),
    *("-p", "anyio", "-o", "anyio_mode=auto", "-p", "served", "-o", "faulthandler_timeout=60"),
    *("-W", "error", "-W", "ignore::pytest.PytestUnknownMarkWarning"),
)
# What has to be another system or interpreter, is asked with settings or paths of other systems, or
# takes long and has nothing of Windows in it.
ELSEWHERE = " or ".join(
    (
        *("without_the_projections", "without_windows", "test_winai_cli", "loads_nothing_heavy"),
        *("any_text_is_arguments", "any_code_and_any_message", "test_winai_winmd"),
        *("test_winai_packaging", "test_winai_projections"),
        *("cannot_be_started_is_told", "dry_run_writes_nothing", "bench.py and command"),
    )
)
ASKS = (
    *("_winrt.py", "_winrt_classes.py", "_winrt_entities.py", "_winrt_filter.py"),
    *("_winrt_hosting.py", "_winrt_providers.py", "apartment.py", "com_class.py"),
    *("_winrt_unlocking.py", "local_server.py", "unlocking.py"),
)
FLOOR = 90.0  # percent of the lines of each module that asks Windows
OWN = 120  # tests of the package that run there, at least

# One process of Windows runs all of it before the first test here ends.
pytestmark = [pytest.mark.wine, pytest.mark.timeout(900)]


def written() -> list[Path]:
    return sorted([*HERE.glob("*_checks.py"), *LAYERS.glob("*_checks.py")])


def checks() -> list[tuple[str, str]]:
    """Module and function of every check, as they are written."""
    return [
        (file.stem, one.name)
        for file in written()
        for one in ast.parse(file.read_text("utf-8")).body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test_")
    ]


def site(folder: Path) -> Path:
    """What our packages and the checks need on Windows, as the lock file has it, by digest."""
    asked = folder / "asked.txt"
    ours = [word for name in PACKAGES for word in ("--package", f"sashizu-{name}")]
    chosen = (*ours, "--group", "windows")
    run = (uv(), "export", "-q", "--frozen", "--no-default-groups", *chosen)
    subprocess.run(
        [*run, "--no-emit-workspace", "-o", str(asked)], cwd=ROOT, check=True, timeout=300
    )
    into = ("--target", str(folder / "site"), "--only-binary", ":all:", "--require-hashes")
    run = (uv(), "pip", "install", "-q", "--no-deps", *PLATFORM, *into, "-r", str(asked))
    subprocess.run(run, check=True, timeout=300, cwd=ROOT)
    for name in PACKAGES:  # who they are; what they do is found in their sources
        known = metadata.distribution(f"sashizu-{name}")
        about = folder / "site" / f"sashizu_{name.replace('-', '_')}-{known.version}.dist-info"
        about.mkdir()
        for part in ("METADATA", "entry_points.txt"):
            (about / part).write_text(known.read_text(part) or "", "utf-8")
    return folder / "site"


@dataclass(frozen=True, slots=True)
class Machine:
    """A Windows with the driver loaded. `modules` are where it finds what it runs."""

    up: Any
    folder: Path
    modules: list[Path]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    build = harness("build")
    if lack := build.missing() or wine.missing(PYTHON):
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("windows-ai")
    driver = build.build(folder / "driver", wine=True)
    modules = [site(folder), *SOURCES, HERE, WINAI / "tests"]
    with wine.Wine(folder / "wine") as up:
        up.load(driver)
        yield Machine(up, folder, modules)
        up.unload()


@pytest.fixture(scope="module")
def ended(machine: Machine) -> dict[str, Any]:
    """How the Windows process ended, case by case, and how far our modules were run."""
    folder = machine.folder
    for source, library in LIBRARIES.items():
        run = [*COMPILE, "-Wno-cast-function-type", "-o", str(folder / library), str(HERE / source)]
        subprocess.run(run, check=True, timeout=120)
    told, figures = folder / "told.xml", folder / "figures.json"
    own = WINAI.glob("tests/test_*.py")
    files = [wine.spelled(file) for file in [*written(), *sorted(own)]]
    root = wine.spelled(WINAI / "tests")
    words = ("-X", "utf8", "-m", "pytest", *OPTIONS, f"--rootdir={root}", f"--confcutdir={root}")
    words += (f"--junitxml={wine.spelled(told)}", "-k", f"not ({ELSEWHERE})", *files)
    env = {"SASHIZU_FAKES": wine.spelled(folder), "SASHIZU_COVERAGE": wine.spelled(figures)}
    process = machine.up.python(PYTHON, words, machine.modules, env=env)
    return {"process": process, "told": told, "figures": figures}


@pytest.fixture(scope="module")
def cases(ended: dict[str, Any]) -> list[ElementTree.Element]:
    assert ended["told"].exists(), ended["process"].stdout[-8000:]
    return list(ElementTree.parse(ended["told"]).iter("testcase"))


def module_of(case: ElementTree.Element) -> str:
    found = case.find("properties/property[@name='module']")
    return "" if found is None else found.get("value") or ""


def failed(case: ElementTree.Element) -> str:
    return "\n".join(one.text or "" for one in case if one.tag in ("failure", "error"))


@pytest.mark.parametrize(("module", "name"), checks())
def test_on_windows(cases: list[ElementTree.Element], module: str, name: str) -> None:
    mine = [
        one
        for one in cases
        if module_of(one) == module and (one.get("name") or "").partition("[")[0] == name
    ]
    assert mine, f"{module}.{name} was not run"
    assert not any(one.find("skipped") is not None for one in mine)
    assert [failed(one) for one in mine if failed(one)] == []


def test_the_tests_of_the_package_pass_on_windows(cases: list[ElementTree.Element]) -> None:
    own = [one for one in cases if not module_of(one).endswith("_checks")]
    assert [failed(one) for one in own if failed(one)] == []
    assert len([one for one in own if one.find("skipped") is None]) >= OWN


def test_little_of_what_asks_windows_is_never_run(
    ended: dict[str, Any], cases: list[ElementTree.Element], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cases
    figures = json.loads(ended["figures"].read_text("utf-8"))["files"]
    share = {
        file.rpartition("\\")[2]: one["summary"]["percent_covered"] for file, one in figures.items()
    }
    with capsys.disabled():
        print("", *(f"{name}: {percent:.0f} %" for name, percent in share.items()), sep="\n")
    assert {name: share[name] for name in ASKS if share[name] < FLOOR} == {}


# --- one model on the builds of ONNX Runtime ------------------------------------------------------


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the ONNX Runtime of this machine makes of the model."""
    pytest.importorskip("onnxruntime", reason="it comes with the extra")
    script = HERE / "onnx_builds.py"
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    builds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builds)
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    file.write_bytes(model())
    told: dict[str, Any] = json.loads(json.dumps(anyio.run(builds.told, file)))
    return {"values": builds.VALUES, "mark": builds.MARK, **told}


@pytest.fixture(scope="module", params=BUILDS)
def there(machine: Machine, here: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """What a build for Windows makes of the same bytes, under Wine; the library's own noise too."""
    file = machine.folder / f"{request.param}.onnx"
    file.write_bytes(model())
    modules = [site_of_build(request.param, machine.folder), *machine.modules]
    words = ("-X", "utf8", wine.spelled(HERE / "onnx_builds.py"), wine.spelled(file))
    process = machine.up.python(PYTHON, words, modules, limit_s=120.0)
    said = process.stdout.splitlines()
    told = [line for line in said if line.startswith(here["mark"])]
    assert told, process.stdout[-4000:]
    return {"said": process.stdout, **json.loads(told[-1].removeprefix(here["mark"]))}


def test_a_model_gives_on_each_build_what_it_gives_here(
    here: dict[str, Any], there: dict[str, Any]
) -> None:
    product = [
        [
            sum(x * w for x, w in zip(row, column, strict=True))
            for column in zip(*WEIGHTS, strict=True)
        ]
        for row in here["values"]
    ]
    expected = [[max(0.0, one) for one in row] for row in product]
    assert there["version"] != here["version"]
    assert there["onnx"] == here["onnx"] == "ready"
    for policy, session in there["sessions"].items():
        mine, theirs = here["sessions"][policy]["given"], session["given"]
        assert theirs["y"] == mine["y"] == expected
        for row, other in zip(theirs["p"], mine["p"], strict=True):
            assert row == pytest.approx(other, rel=1e-5)
            assert sum(row) == pytest.approx(1.0, rel=1e-5)
        assert session["types"] == here["sessions"][policy]["types"]


def test_a_build_with_directml_and_no_device_falls_back_silently_but_not_with_us(
    there: dict[str, Any],
) -> None:
    assert there["built"][0] == "DmlExecutionProvider"
    assert there["directml"] == "ready"  # what it is built with; a session shows whether it runs
    assert there["silent"] == ["CPUExecutionProvider"]  # the library by itself, with no error
    assert "Falling back to ['CPUExecutionProvider'] and retrying." in there["said"]
    assert set(there["refused"]) == set(there["sessions"]) - {"cpu"}
    for policy, session in there["sessions"].items():
        assert session["providers"] == ["CPUExecutionProvider"]
        if policy == "cpu":
            assert session["fell_back"] == ""
            continue
        assert f"asked for {policy!r}; the CPU runs all" in session["fell_back"]
        assert there["refused"][policy].startswith("Unsupported: open an ONNX model on")
    for policy in ("default", "directml", "gpu"):
        assert "dxcore" in there["sessions"][policy]["fell_back"]
        assert "dxcore" in there["refused"][policy]
