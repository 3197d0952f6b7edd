"""Writes events without end; says in a file how many the record has taken.

    python audit_acknowledges.py RECORD ACKNOWLEDGED written|durable

The file begins with the id of the writer, then 8 bytes: how many were acknowledged. It is written
after the record has answered, and must lie where the record's disk cannot take it along.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from sashizu_audit import AuditWriter
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event

OPTIONS = WriterOptions(ballast_bytes=0, segment_bytes=256 * 1024, content="blobs")


def main() -> None:
    folder, acknowledged, durable = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "durable"
    pause = random.Random(os.getpid())
    with AuditWriter(folder, options=OPTIONS) as writer:
        fd = os.open(acknowledged, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.pwrite(fd, writer.writer_id.encode() + bytes(8), 0)
        number = 0
        while True:
            fields = {"attrs": {"n": number, "pad": "x" * pause.randrange(1500)}}
            if number % 50 == 0:
                fields["blobs"] = [writer.keep(f"{writer.writer_id} {number}")]
            writer.write([Event("tool.requested", fields)])
            if durable:
                writer.flush()
            number += 1
            os.pwrite(fd, number.to_bytes(8, "little"), 36)
            if number % 32 == 0 and not durable:
                time.sleep(pause.random() / 2)


if __name__ == "__main__":
    main()
