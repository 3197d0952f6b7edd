"""The Linux module, built for Debian's kernels and run in an emulator."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"
FOLDER = Path(os.environ.get("SASHIZU_KERNELS", NATIVE.parents[2] / ".kernels")).resolve()
LIMIT = 300.0  # seconds; a boot takes ten to twenty

pytestmark = pytest.mark.kernel


def _loaded(name):
    spec = importlib.util.spec_from_file_location(name, NATIVE / "linux" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


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
def module(kernel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    said = guest.build_module(kernel, folder)
    assert "warning" not in said.lower()
    return folder / "sashizu.ko"


@pytest.fixture(scope="module")
def programs(_tools, tmp_path_factory):
    return {path.name: path for path in guest.build_programs(tmp_path_factory.mktemp("programs"))}


def test_the_module_keeps_its_word_when_used_abused_and_removed(kernel, module, programs):
    commands = [
        "run insmod /sashizu.ko",
        "run /checks",
        "run /fuzz 5",
        "run rmmod sashizu",
        "run insmod /sashizu.ko pool_mib=4 client_mib=2 slots=3",
        "run rmmod sashizu",
        "insmod /sashizu.ko client_mib=1000 && failed=1",
    ]
    ended = guest.boot(kernel, {**programs, "sashizu.ko": module}, commands, LIMIT)
    assert ended.passed, ended.text
    assert "ok 1 - version answers" in ended.text
    assert "fuzzed: " in ended.text


@pytest.fixture(scope="module")
def python(_tools, tmp_path_factory):
    tests = [NATIVE / "linux" / "tests" / "linux_checks.py"]
    files = guest_python.packed(tests, tmp_path_factory.mktemp("compiled"))
    return files, guest_python.command(tests)


def test_the_python_client_works_on_the_loaded_module(kernel, module, programs, python):
    files, command = python
    commands = ["run insmod /sashizu.ko", command, "run rmmod sashizu"]
    everything = {**files, "leave": programs["leave"], "sashizu.ko": module}
    ended = guest.boot(kernel, everything, commands, LIMIT)
    assert ended.passed, ended.text
    assert re.search(r"^\d{2,} passed", ended.text, re.MULTILINE), ended.text


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
