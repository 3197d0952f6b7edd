"""A run of many agents asks the system for as many descriptors as they need."""

import subprocess
import sys

import pytest
from sashizu_cli.execution import RunRequest, execute
from sashizu_core.types import Task

resource = pytest.importorskip("resource")

SCRIPT = """
import os, resource, sys
from sashizu_cli.descriptors import make_room

hard = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
make_room(int(sys.argv[2]))
opened = []
try:
    while len(opened) < 2000:
        opened.append(os.dup(0))
except OSError:
    pass
print(len(opened), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def opened(hard: int, agents: int) -> tuple[int, int, int]:
    """How many descriptors could be opened, and the limits: soft and hard."""
    command = [sys.executable, "-c", SCRIPT, str(hard), str(agents)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, soft, allowed = map(int, done.stdout.split())
    return count, soft, allowed


def test_many_agents_get_the_descriptors_they_need_and_no_more() -> None:
    count, soft, hard = opened(4096, 100)
    assert 100 * 8 < count < soft < hard == 4096


def test_nobody_asks_for_more_than_the_user_may_have() -> None:
    count, soft, hard = opened(200, 100)
    assert soft == hard == 200
    assert 150 < count < 200


def test_a_limit_that_is_high_enough_stays() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = "import resource; from sashizu_cli.descriptors import make_room; make_room(0);"
    script += "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert tuple(map(int, done.stdout.split())) == (max(before[0], min(256, before[1])), before[1])


def test_a_run_makes_room_for_its_agents(world, monkeypatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("sashizu_cli.execution.make_room", asked.append)
    tasks = [Task("alpha"), Task("beta"), Task("alpha")]
    execute(RunRequest(tasks, audit=False), world.session("Done.", "Done.", "Done."))
    assert asked == [3]
