"""The core of the driver on random calls, with clang's sanitizers watching."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent.parent / "native"
RUNS = 25_000  # some seconds; scripts/long goes on for longer
RUNS_TO_FIND = 300_000  # what is found is found within a tenth of them

pytestmark = pytest.mark.kernel


def _loaded():
    spec = importlib.util.spec_from_file_location("driver_fuzz", NATIVE / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = _loaded()


@pytest.fixture(autouse=True)
def _tools():
    if lack := fuzz.missing():
        pytest.skip(lack)


def test_the_core_counts_rightly_and_leaves_nothing_whatever_is_called(tmp_path):
    ended = fuzz.run(fuzz.build(tmp_path), tmp_path / "corpus", [f"-runs={RUNS}", "-seed=1"])
    assert ended.returncode == 0, ended.stdout
    assert re.search(rf"^Done {RUNS} runs", ended.stdout, re.MULTILINE), ended.stdout


@pytest.mark.parametrize(
    ("source", "right", "wrong", "said"),
    [
        ("hints.c", "process->refs++;", "", "heap-use-after-free"),
        ("slots.c", "driver, ticket);\n\t\tszd_slots_fill(driver);", "driver, ticket);", "abort"),
    ],
    ids=["given back too early", "nobody is told"],
)
def test_a_fault_deep_in_the_core_is_found(source, right, wrong, said, tmp_path):
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    text = (copy / "core" / source).read_text("utf-8")
    assert text.count(right) == 1
    (copy / "core" / source).write_text(text.replace(right, wrong), "utf-8")
    program = fuzz.build(tmp_path / "built", native=copy)
    ended = fuzz.run(program, tmp_path / "corpus", [f"-runs={RUNS_TO_FIND}", "-seed=1"])
    assert ended.returncode != 0
    assert said in ended.stdout, ended.stdout
