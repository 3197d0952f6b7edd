"""Whether who asks a record while others write, seal, merge and die sees each event exactly once.

    uv run python benchmarks/reads_while_sealing.py [--reads 10000] [--each 500]

Two processes write segments of a few events and seal them, a third one's children are killed all
the time. Meanwhile four readers ask, two in their own processes, two in the jail. An event that is
read twice or missed, and a count that is smaller than the one before, are failures; so is a record
that does not verify at the end. After --each reads all begin anew with an empty record, so that a
read stays as cheap as at the beginning. Ends with 1 if there is a failure.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

SQL = """
SELECT sum(n), sum(ids), sum(numbers), sum(last + 1 - numbers) FROM (
  SELECT count(*) AS n, count(DISTINCT event_id) AS ids, count(DISTINCT seq) AS numbers,
         CAST(max(seq) AS BIGINT) AS last
  FROM events GROUP BY writer_id
)
"""
BETWEEN_ROUNDS_S = 0.5
READERS = ("here", "here", "jail", "jail")

Said = tuple[str, list[float]]
"""Where a reader asked; how often, how many failures of each kind, and milliseconds."""


def write_and_seal(folder: Path) -> None:
    """Write, seal and merge until killed."""
    from sashizu_audit import AuditWriter
    from sashizu_audit.sealing import seal_record
    from sashizu_audit.spool import WriterOptions
    from sashizu_core.events import Event

    options = WriterOptions(ballast_bytes=0, segment_bytes=3_000)
    for number in itertools.count():
        with AuditWriter(folder, options=options) as writer:
            for step in range(6):
                writer.write(
                    [Event("tool.requested", {"tool": f"t{step}", "attrs": {"n": number}})]
                )
        if number % 2:
            seal_record(folder, today="9999-01-01" if number % 10 == 1 else "")
        time.sleep(BETWEEN_ROUNDS_S)


def write_and_die(folder: Path) -> None:
    """Until killed, have children that write one segment each, and kill them."""
    from sashizu_audit import AuditWriter
    from sashizu_core.events import Event

    rng = random.Random(1)
    gone, alive = os.pipe()  # a child ends with us, whatever ends us
    while True:
        child = os.fork()
        if not child:
            os.close(alive)
            with AuditWriter(folder) as writer:
                while not select.select([gone], [], [], BETWEEN_ROUNDS_S)[0]:
                    writer.write([Event("tool.requested", {"tool": "victim"})])
            os._exit(0)
        time.sleep(rng.uniform(0.2, 2.0))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def read(folder: Path, reads: int, where: str) -> None:
    """Ask so often; print how often, how many failures of each kind, and milliseconds."""
    from sashizu_audit import AuditStore, JailedStore

    store = JailedStore(folder) if where == "jail" else AuditStore(folder)
    doubled = missed = shrunk = last = 0
    took = []
    for _ in range(reads):
        begun = time.perf_counter()
        count, ids, places, gaps = store.query(SQL).rows[0]
        took.append(time.perf_counter() - begun)
        doubled += count != ids or count != places
        missed += gaps != 0
        shrunk += count < last
        last = count
    if isinstance(store, JailedStore):
        store.close()
    print(reads, doubled, missed, shrunk, round(1000 * sorted(took)[reads // 2], 1))


def start(act: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, act, *map(str, words)], stdout=subprocess.PIPE, text=True
    )


@contextmanager
def busy(folder: Path):
    """Two processes that write and seal, and one whose children die."""
    acts = ("write_and_seal", "write_and_seal", "write_and_die")
    running = [start(act, folder) for act in acts]
    try:
        yield running
    finally:
        for process in running:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def soak(folder: Path, reads: int) -> list[Said]:
    """Read while others are busy; returns what each reader says.

    Raises:
        RuntimeError: a writer or a reader ended by itself.
    """
    with busy(folder) as running:
        while not any((folder / "hot").glob("*.jsonl")):
            time.sleep(0.05)
        count = math.ceil(reads / len(READERS))
        readers = [(where, start("read", folder, count, where)) for where in READERS]
        try:
            while any(reader.poll() is None for _, reader in readers):
                if any(process.poll() is not None for process in running):
                    raise RuntimeError("a writer ended by itself")
                time.sleep(0.1)
            said = [(where, reader.communicate()[0].split()) for where, reader in readers]
        finally:
            for _, reader in readers:
                end(reader)
        if any(reader.returncode for _, reader in readers):
            raise RuntimeError("a reader failed, see above")
    return [(where, [float(word) for word in words]) for where, words in said]


def one_record(reads: int) -> tuple[list[Said], int, bool]:
    """What readers of a new record say, its events, and whether it is good at the end."""
    from sashizu_audit import verify_record
    from sashizu_audit.sealing import seal_record

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "audit"
        found = soak(folder, reads)
        sealed = seal_record(folder)
        report = verify_record(folder)
    torn = 2  # what a killed writer may leave, and nothing worse
    return found, report.events, report.exit_code in (0, torn) and sealed is not None


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--reads", type=int, default=10_000)
    asked.add_argument("--each", type=int, default=500)
    options = asked.parse_args()
    found: list[Said] = []
    records = events = odd = 0
    while (done := sum(int(numbers[0]) for _, numbers in found)) < options.reads:
        said, written, good = one_record(min(options.each, options.reads - done))
        found += said
        records, events, odd = records + 1, events + written, odd + (not good)
        failed = sum(sum(numbers[1:4]) for _, numbers in said)
        print(f"record {records}: {written} events, {failed:.0f} failures", flush=True)
    failures = sum(sum(numbers[1:4]) for _, numbers in found)
    for place in dict.fromkeys(READERS):
        told = [numbers for where, numbers in found if where == place]
        count, doubled, missed, shrunk = (sum(one[at] for one in told) for at in range(4))
        ms = statistics.median(one[4] for one in told)
        print(
            f"{place}: {count:.0f} reads of {ms} ms, {doubled:.0f} with an event twice, "
            f"{missed:.0f} with one missing, {shrunk:.0f} with fewer than before"
        )
    print(f"{events} events in {records} records, of which {odd} do not verify at the end")
    return int(bool(failures) or bool(odd))


if __name__ == "__main__":
    match sys.argv[1:2]:
        case ["write_and_seal"]:
            write_and_seal(Path(sys.argv[2]))
        case ["write_and_die"]:
            write_and_die(Path(sys.argv[2]))
        case ["read"]:
            read(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        case _:
            sys.exit(main())
