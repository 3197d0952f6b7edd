"""However a process ends, what it wrote is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sashizu_audit import verify_record
from sashizu_audit.segments import hot_segments

WRITES = """
import os, signal, sys, threading
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event

writer = AuditWriter(Path(sys.argv[1]), options=WriterOptions(ballast_bytes=0, flush_s=3600))

def write(name):
    writer.write([Event("tool.requested", {"tool": name})])

for number in range(50):
    write(f"t{number}")
write("last")
"""

ENDINGS = {
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "os._exit": ("os._exit(7)", 7),
    "an exception": ("raise RuntimeError('gone')", 1),
    "the end of the interpreter": ("", 0),
    "a daemon thread": (
        (
            "began = threading.Event()\n"
            "def go_on():\n"
            "    began.set()\n"
            "    while True:\n"
            "        write('of a thread')\n"
            "threading.Thread(target=go_on, daemon=True).start()\n"
            "began.wait()"
        ),
        0,
    ),
    "a thread that still runs": (
        "threading.Thread(target=lambda: write('of a thread')).start()",
        0,
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="unsupported: Windows has no such signals")
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_last_event_is_there_however_a_process_ends(tmp_path: Path, ending: str) -> None:
    program, code = ENDINGS[ending]
    done = subprocess.run(
        [sys.executable, "-c", WRITES + program, str(tmp_path)], capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
    (file,) = hot_segments(tmp_path).values()
    data = file.path.read_bytes()
    assert data.count(b'"tool":"t') == 50
    assert data.count(b'"tool":"last"') == 1
    assert (b"of a thread" in data) == ("thread" in ending)
    assert verify_record(tmp_path).exit_code in (0, 2)  # a thread may be ended within a line
