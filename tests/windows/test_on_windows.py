"""The base on Windows: a real Windows Python under Wine runs the tests of its packages."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from windows_suites import SUITES, missing, windows

pytestmark = pytest.mark.wine


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if lack := missing():
        pytest.skip(lack)
    with windows(tmp_path_factory.mktemp("windows")) as up:
        yield up


def test_the_packages_pass_their_tests_on_windows(machine, capsys):
    with ThreadPoolExecutor(2) as pool:  # this waits for Wine most of the time
        outcomes = list(pool.map(lambda suite: machine.tests(suite, whole=False), SUITES))
    with capsys.disabled():
        print("", *outcomes, sep="\n")
    for suite, outcome in zip(SUITES, outcomes, strict=True):
        assert outcome.status == 0, outcome.text
        assert outcome.counts["passed"] >= suite.floor, outcome.text
