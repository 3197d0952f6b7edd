"""Waits of the Windows driver under clang's sanitizers, on threads of this machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"
FLAGS = (
    *("-g", "-O1", "-std=gnu11", "-pthread", "-DSZD_WINE", "-Wall", "-Wextra", "-Werror"),
    *("-Wno-multichar", "-fno-sanitize-recover=all"),
)
SANITIZERS = ("thread", "address,undefined")
OUTCOMES = r"granted (\d+), out of time (\d+), cancelled (\d+)\n"

pytestmark = pytest.mark.wine


@pytest.fixture(autouse=True)
def _tools():
    if shutil.which("clang") is None:
        pytest.skip("there is no clang: install clang and libclang-rt-14-dev")
    words = ["clang", "-print-file-name=libclang_rt.tsan-x86_64.a"]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip("clang has no sanitizers here: install libclang-rt-14-dev")


def waits(folder, sanitizer, native=NATIVE):
    """Six handles that wait a thousand times each while somebody cancels them."""
    threads = native / "windows" / "tests" / "threads"
    program = folder / "waits"
    sources = [*sorted(native.glob("core/*.c")), threads / "waits.c"]
    words = ["clang", f"-fsanitize={sanitizer}", *FLAGS, "-I", str(threads), "-o", str(program)]
    subprocess.run([*words, *map(str, sources)], check=True)
    return subprocess.run(
        ["nice", "-n", "10", program, "7", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_waits_end_once_and_leave_nothing_whatever_ends_them_at_the_same_time(sanitizer, tmp_path):
    ended = waits(tmp_path, sanitizer)
    assert ended.returncode == 0, ended.stdout
    counts = [int(one) for one in re.fullmatch(OUTCOMES, ended.stdout).groups()]
    assert sum(counts) == 6000
    assert all(count > 100 for count in counts), counts


def test_a_wait_that_is_cancelled_and_then_completed_again_is_found(tmp_path):
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    source = copy / "windows" / "waits.c"
    text = source.read_text("utf-8")
    right = "waiter->irp = NULL; /* from here on it may be freed */"
    assert right in text
    source.write_text(text.replace(right, "(void)waiter;"), "utf-8")
    ended = waits(tmp_path, "address,undefined", copy)
    assert ended.returncode != 0, ended.stdout
    assert "heap-use-after-free" in ended.stdout
