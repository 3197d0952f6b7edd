"""What a keeper starts ends with it, however it ends."""

import ctypes
import os
import signal
import subprocess
import sys

import pytest
from sashizu_gpu_driver.serving.tied import Guard, _ExtendedLimits, tie_children

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no groups of processes")
NEVER_ENDS = "import threading; threading.Event().wait()"

KEEPER = f"""
import subprocess, sys
from sashizu_gpu_driver.serving.tied import Guard, tie_children
tie_children()
server = subprocess.Popen([sys.executable, "-c", {NEVER_ENDS!r}], start_new_session=True)
guard = Guard(server.pid) if sys.platform != "win32" else None
print(server.pid, flush=True)
sys.stdin.read()
"""


@posix
def test_a_group_ends_when_its_guard_hears_no_more():
    with subprocess.Popen([sys.executable, "-c", NEVER_ENDS], start_new_session=True) as server:
        guard = Guard(server.pid)
        guard._shell.stdin.close()

        assert server.wait(60) == -signal.SIGTERM
        guard._shell.kill()
        guard._shell.wait()


@posix
def test_a_group_that_is_over_is_left_alone():
    with subprocess.Popen([sys.executable, "-c", NEVER_ENDS], start_new_session=True) as other:
        Guard(other.pid).over()

        assert other.poll() is None
        other.kill()


@posix
def test_a_server_ends_when_its_keeper_is_killed_without_a_word():
    command = [sys.executable, "-c", KEEPER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as keeper:
        server = int(keeper.stdout.readline())
        # An orphan is reaped by whoever adopts it: a pipe that it holds says when it has ended.
        os.kill(keeper.pid, signal.SIGKILL)
        assert keeper.stdout.read() == b""
    assert server


class Kernel:
    """Windows' kernel32 as far as a job takes it; `refuses` names the call that fails."""

    def __init__(self, refuses=""):
        self.told = []
        self._refuses = refuses

    def __getattr__(self, name):
        def call(*arguments):
            self.told.append((name, arguments))
            return 0 if name == self._refuses else 77

        setattr(self, name, call)
        return call


def test_on_windows_the_keeper_is_in_a_job_that_ends_what_is_in_it():
    kernel = Kernel()

    tie_children(kernel)

    calls = dict(kernel.told)
    job, kind, _, size = calls["SetInformationJobObject"]
    assert (job.value, kind, size) == (77, 9, ctypes.sizeof(_ExtendedLimits))
    assert calls["AssignProcessToJobObject"][0].value == 77
    assert "CloseHandle" not in calls


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="of 64-bit Windows")
def test_the_limits_of_a_job_are_as_large_as_windows_has_them():
    assert ctypes.sizeof(_ExtendedLimits) == 144


@pytest.mark.parametrize("refuses", ["CreateJobObjectW", "AssignProcessToJobObject"])
def test_a_job_that_is_refused_is_told(refuses):
    with pytest.raises(OSError, match="job object"):
        tie_children(Kernel(refuses))
