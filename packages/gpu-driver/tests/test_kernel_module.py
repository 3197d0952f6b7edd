"""The Linux module, built for Debian's kernels and run in an emulator."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"
ROOT = NATIVE.parents[2]
FOLDER = Path(os.environ.get("SASHIZU_KERNELS", ROOT / ".kernels")).resolve()
LIMIT = 400.0  # seconds; a boot takes twenty, on a busy machine several times that

pytestmark = pytest.mark.kernel


def _loaded(name):
    spec = importlib.util.spec_from_file_location(name, NATIVE / "linux" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


source = _loaded("source")
guest = _loaded("guest")
guest_python = _loaded("guest_python")
KERNELS = guest.kernels(FOLDER) or [None]  # None: the fixture says what is missing


@pytest.fixture(scope="module", autouse=True)
def _tools():
    if lack := guest.missing(FOLDER):
        pytest.skip(lack)


@pytest.fixture(scope="module", params=KERNELS, ids=lambda one: one.version if one else "none")
def kernel(request, _tools):
    return request.param


@pytest.fixture(scope="module")
def programs(_tools, tmp_path_factory):
    return {path.name: path for path in guest.build_programs(tmp_path_factory.mktemp("programs"))}


@pytest.fixture(scope="module")
def python(_tools, tmp_path_factory):
    tests = [NATIVE / "linux" / "tests" / "linux_checks.py"]
    bench = ROOT / "benchmarks" / "driver_call.py"
    files = guest_python.packed(tests, [bench], tmp_path_factory.mktemp("compiled"))
    return files, [f"run {guest_python.pytest_command(tests)}", guest_python.command([str(bench)])]


@pytest.fixture(scope="module")
def ended(kernel, programs, python, tmp_path_factory):
    """One boot, in which everything is done."""
    folder = tmp_path_factory.mktemp("module")
    said = guest.build_module(kernel, folder)
    assert "warning" not in said.lower(), said
    files, commands = python
    script = [
        "run insmod /sashizu.ko",
        "run /checks",
        "run /fuzz 5",
        *commands,
        "run rmmod sashizu",
        "run insmod /sashizu.ko pool_mib=4 client_mib=2 slots=3",
        "run rmmod sashizu",
        "insmod /sashizu.ko client_mib=1000 && failed=1",
    ]
    everything = {**programs, **files, "sashizu.ko": folder / "sashizu.ko"}
    return guest.boot(kernel, everything, script, LIMIT)


def test_the_module_keeps_its_word_when_used_abused_and_removed(ended):
    assert ended.passed, ended.text
    assert "ok 1 - version answers" in ended.text
    assert re.search(r"fuzzed: \d{4,} calls", ended.text), ended.text


def test_the_python_client_and_the_contract_of_backends_hold_on_the_module(ended):
    assert re.search(r"^\d{2,} passed", ended.text, re.MULTILINE), ended.text


def test_a_call_from_python_costs_little_more_than_a_bare_one(ended):
    ratio = re.search(r"NativeDriver\.call: [\d.]+ us, ([\d.]+) x", ended.text)
    assert ratio, ended.text
    assert float(ratio[1]) <= 1.5, ended.text


def test_the_check_for_reused_pages_finds_a_pool_that_reuses_them(programs, tmp_path):
    """A pool that keeps freed pages for the next client, as one would write it at first."""
    kernel = KERNELS[0]
    kept = "static struct page *kept[65536];\nstatic size_t keeps;\n"
    changes = [
        ("static void szd_pages_put", f"{kept}static void szd_pages_put"),
        (
            "put_page(pages->page[--pages->count]);",
            "kept[keeps++] = pages->page[--pages->count];",
        ),
        ("page = alloc_page(", "page = keeps ? kept[--keeps] : alloc_page("),
    ]
    guest.build_module(kernel, tmp_path, change={"linux/mapping.c": changes})
    files = {**programs, "sashizu.ko": tmp_path / "sashizu.ko"}
    ended = guest.boot(kernel, files, ["run insmod /sashizu.ko", "run /checks"], LIMIT)
    assert not ended.passed
    assert re.search(r"not ok \d+ - a page in a pipe never shows what the next", ended.text)


def test_dkms_builds_the_module_from_the_archive_and_removes_it_again(tmp_path):
    """All in this folder; without a key, so that nothing is signed with that of the machine."""
    if not (dkms := FOLDER / "dkms" / "usr" / "sbin" / "dkms").exists():
        pytest.skip(
            f"there is no DKMS: run packages/gpu-driver/native/linux/fetch-kernels {FOLDER}"
        )
    assert source.main([str(tmp_path)]) == 0
    (archive,) = tmp_path.glob("sashizu-*.tar.gz")
    module = archive.name.removesuffix(".tar.gz").replace("-", "/", 1)
    trees = {name: tmp_path / name for name in ("dkmstree", "sourcetree", "installtree")}
    for tree in trees.values():
        tree.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", trees["sourcetree"]], check=True)
    (tmp_path / "openssl").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    kernel = KERNELS[0]
    options = [word for name, tree in trees.items() for word in (f"--{name}", tree)]
    options += ["-k", kernel.version, "--kernelsourcedir", kernel.headers, "--no-depmod"]

    def run(action):
        return subprocess.run(
            ["nice", "-n", "10", "bash", dkms, action, module, *options],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}:/usr/sbin:/sbin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    built = run("build")
    assert built.returncode == 0, built.stdout
    (made,) = trees["dkmstree"].glob(f"{module}/{kernel.version}/*/module/sashizu.ko")
    assert f"vermagic={kernel.version} ".encode() in made.read_bytes()
    assert "built" in run("status").stdout
    removed = run("remove")
    assert removed.returncode == 0, removed.stdout
    assert [path.name for path in trees["dkmstree"].rglob("*")] == []
    assert list(trees["installtree"].iterdir()) == []
