"""A run that is cancelled or killed leaves no process behind, whatever its programs do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sashizu_core.settings import Settings
from sashizu_sandbox import plugin

HARNESS = Path(__file__).parent / "programs" / "run_agent.py"
LEFT_S = 5.0
"""How long after the end of a run its processes may be seen, in seconds."""

PROGRAMS = {
    "fork bomb": """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        pass
    time.sleep(0.05)
""",
    "daemon": """
import os, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for fd in range(3):
    os.close(fd)
time.sleep(600)
""",
    "deaf to signals": """
import signal, time
for number in range(1, signal.NSIG):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    time.sleep(1)
""",
    "endless output": """
while True:
    print("x" * 4096)
""",
    "a gigabyte": """
import time
with open("out/big", "wb") as file:
    for _ in range(1024):
        file.write(bytes(1024 * 1024))
time.sleep(600)
""",
}


def _sandboxed() -> str:
    """Why no sandbox that enforces can be had here; empty where one can."""
    infos = [spec.probe() for spec in plugin.register_sandboxes(Settings())]
    if any(info.kind == "enforced" for info in infos):
        return ""
    return "; ".join(f"{info.name}: {info.reason}" for info in infos) or "no sandbox"


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def alive(mark: str) -> list[int]:
    """The processes with a mark among their arguments, but for the harness itself."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words and os.fsencode(HARNESS) not in words:
            found.append(int(folder.name))
    return found


def until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return true()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_process_is_left(name: str, how: signal.Signals, tmp_path: Path) -> None:
    if why := _sandboxed():
        pytest.skip(why)
    mark = f"mark-{os.getpid()}-{name.replace(' ', '-')}-{how.name}"
    work = tmp_path / "work"
    (work / "out").mkdir(parents=True)
    environment = {
        **os.environ,
        "SASHIZU_HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    command = [sys.executable, HARNESS, work, "python3", "-c", PROGRAMS[name], mark]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert until(lambda: bool(alive(mark)) or run.poll() is not None, 20), "it never began"
        if name == "a gigabyte":
            big = work / "out" / "big"
            until(lambda: big.exists() and big.stat().st_size > 100_000_000, 20)
        run.send_signal(how)
        out, err = run.communicate(timeout=60)
    assert until(lambda: not alive(mark), LEFT_S), alive(mark)
    if how != signal.SIGKILL and name != "daemon":
        assert out.startswith("cancelled"), (out, err)
