"""Which processes are still there."""

import os
import subprocess
import sys
import time

import pytest
from sashizu_core import processes
from sashizu_core.processes import Owner, had_number, has_ended, is_gone, this_process


def test_a_process_is_gone_when_it_has_ended_and_not_before():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = Owner(child.pid, processes._started(child.pid) or "")
        assert owner.started
        assert not is_gone(owner)
        child.kill()

    assert is_gone(owner)
    assert not is_gone(this_process())


def test_a_number_that_is_used_again_names_nobody_else():
    started = this_process().started

    assert is_gone(Owner(os.getpid(), started + "0"))


@pytest.mark.parametrize("answer", ["", None])
def test_who_cannot_be_asked_about_is_not_gone(monkeypatch, answer):
    owner = Owner(os.getpid() + 1, this_process().started)
    monkeypatch.setattr(processes, "_started", lambda _: answer)

    assert is_gone(owner) is (answer is None)


def test_of_a_process_in_another_container_nobody_can_tell_whether_it_has_ended():
    boot, _, rest = this_process().started.partition("/")
    elsewhere = Owner(1, f"{boot}/1/{rest.rpartition('/')[2]}")

    assert has_ended(elsewhere) is None
    assert not is_gone(elsewhere)
    assert has_ended(Owner(1, "")) is None
    assert has_ended(this_process()) is False


def test_a_process_had_its_number_since_it_began_and_not_when_it_has_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert had_number(child.pid, time.time())
        assert had_number(child.pid, 0.0) is (sys.platform != "win32")
        child.kill()

    assert not had_number(child.pid, time.time())
