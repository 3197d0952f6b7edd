"""Hints are applied whole, within limits, and put back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sashizu_core.devices import DeviceError, Hint
from sashizu_gpu_driver.hints import HIGHEST_WEIGHT, LOWEST_NICE, apply_hint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hints are for Linux")


@pytest.fixture
def pid() -> Iterator[int]:
    """A process of ours that waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child.pid
        child.kill()


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    """A machine whose process 50 is alone in a cgroup, with what it started."""
    for number, parent in ((50, 1), (51, 50), (60, 1)):
        folder = tmp_path / f"proc/{number}"
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{number} (a) b) S {parent} " + "0 " * 17 + f"9{number} 0\n")
        (folder / "cgroup").write_text("0::/work\n")
    work = tmp_path / "sys/fs/cgroup/work"
    work.mkdir(parents=True)
    (work / "cgroup.procs").write_text("50\n51\n")
    (work / "cpu.weight").write_text("100\n")
    return tmp_path


def weight(root: Path) -> str:
    return (root / "sys/fs/cgroup/work/cpu.weight").read_text().strip()


def test_a_nicer_process_is_nicer(pid: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, pid)
    result = apply_hint(pid, Hint(nice=15))
    assert (result.state, result.how) == ("applied", f"nice {before} to 15")
    assert os.getpriority(os.PRIO_PROCESS, pid) == 15


def test_policy_and_nice_are_put_back_together(pid: int) -> None:
    before = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
    result = apply_hint(pid, Hint(policy="batch"))
    assert result.state == "applied"
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    result.undo()
    assert (os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)) == before


THREADS = """
import threading
for _ in range(2):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(flush=True)
input()
"""


def test_all_threads_of_a_process_are_scheduled_in_another_way_and_put_back() -> None:
    command = [sys.executable, "-c", THREADS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        threads = [int(each.name) for each in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(threads) == 3

        def now() -> list[tuple[int, int]]:
            return [
                (os.getpriority(os.PRIO_PROCESS, each), os.sched_getscheduler(each))
                for each in threads
            ]

        before = now()
        result = apply_hint(child.pid, Hint(nice=15, policy="batch"))
        assert now() == [(15, os.SCHED_BATCH)] * 3
        result.undo()
        assert now() == before
        child.kill()


@pytest.mark.parametrize("nice", [LOWEST_NICE - 1, -20, 20])
def test_nobody_is_preferred_to_what_keeps_the_machine_alive(pid: int, nice: int) -> None:
    result = apply_hint(pid, Hint(nice=nice))
    assert result.state == "denied"
    assert str(LOWEST_NICE) in result.reason


def test_a_hint_whose_second_half_fails_leaves_nothing_behind(pid: int) -> None:
    before = os.sched_getscheduler(pid)
    # The policy is asked first by neither name: the weight is out of bounds.
    result = apply_hint(pid, Hint(policy="idle", cpu_weight=HIGHEST_WEIGHT + 1))
    assert result.state == "denied"
    assert os.sched_getscheduler(pid) == before


def test_an_empty_hint_asks_for_nothing(pid: int) -> None:
    assert apply_hint(pid, Hint()).reason == "the hint asks for nothing"


def test_a_process_that_is_not_there_is_no_crash() -> None:
    assert apply_hint(2**22 + 1, Hint(nice=5)).reason.startswith("there is no process")


def test_what_was_done_to_a_dead_process_cannot_be_undone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        result = apply_hint(child.pid, Hint(policy="batch"))
        assert result.state == "applied"
        child.kill()
        child.wait()
    with pytest.raises(DeviceError):
        result.undo()


def test_a_process_that_took_the_number_of_another_is_left_alone(cgroups: Path) -> None:
    result = apply_hint(50, Hint(cpu_weight=50), root=cgroups)
    stat = cgroups / "proc/50/stat"
    stat.write_text(stat.read_text().replace("950", "999"))
    with pytest.raises(DeviceError, match="another one now"):
        result.undo()
    assert weight(cgroups) == "50"


def test_the_weight_of_a_cgroup_is_set_and_put_back(cgroups: Path) -> None:
    result = apply_hint(50, Hint(cpu_weight=50), root=cgroups)
    assert (result.state, weight(cgroups)) == ("applied", "50")
    result.undo()
    assert weight(cgroups) == "100"


def test_a_cgroup_that_others_are_in_is_left_alone(cgroups: Path) -> None:
    (cgroups / "sys/fs/cgroup/work/cgroup.procs").write_text("50\n60\n")
    result = apply_hint(50, Hint(cpu_weight=50), root=cgroups)
    assert (result.state, weight(cgroups)) == ("denied", "100")
    assert "process 60 is in the same cgroup" in result.reason


def test_the_cgroup_of_the_whole_machine_is_left_alone(cgroups: Path) -> None:
    (cgroups / "proc/50/cgroup").write_text("0::/\n")
    (cgroups / "sys/fs/cgroup/cgroup.procs").write_text("1\n50\n")
    assert "whole machine" in apply_hint(50, Hint(cpu_weight=5), root=cgroups).reason


def test_without_cgroups_of_version_two_it_is_not_supported(cgroups: Path) -> None:
    (cgroups / "proc/50/cgroup").write_text("3:cpu:/work\n")
    assert apply_hint(50, Hint(cpu_weight=5), root=cgroups).state == "unsupported"


def test_device_memory_is_bounded_where_the_kernel_can(cgroups: Path) -> None:
    file = cgroups / "sys/fs/cgroup/work/dmem.max"
    file.write_text("drm/0000:03:00.0/vram max\n")
    result = apply_hint(50, Hint(device_memory_max=1 << 30), root=cgroups)
    assert (result.state, file.read_text()) == ("applied", "drm/0000:03:00.0/vram 1073741824\n")
    result.undo()
    assert file.read_text() == "drm/0000:03:00.0/vram max\n"


def test_device_memory_is_not_bounded_where_the_kernel_cannot(cgroups: Path) -> None:
    result = apply_hint(50, Hint(device_memory_max=1), root=cgroups)
    assert (result.state, "dmem" in result.reason) == ("unsupported", True)
