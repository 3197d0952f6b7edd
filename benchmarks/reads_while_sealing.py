"""Whether who asks a record while others write, seal, merge and die sees each event exactly once.

    uv run python benchmarks/reads_while_sealing.py [--reads 10000]

Two processes write segments of a few events and seal them, a third is killed and begun anew all
the time. Meanwhile two readers ask, one in its own process, one in the jail. An event that is read
twice or missed, and a count that is smaller than the one before, are failures; so is a record that
does not verify at the end. Ends with 1 if there is one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

SQL = """
SELECT count(*), count(DISTINCT event_id), count(DISTINCT (writer_id, seq)),
       (SELECT coalesce(sum(missing), 0) FROM seq_gaps)
FROM events
"""
BETWEEN_ROUNDS_S = 0.25


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


def write_only(folder: Path) -> None:
    """Write one segment until killed."""
    from sashizu_audit import AuditWriter
    from sashizu_core.events import Event

    with AuditWriter(folder) as writer:
        while True:
            writer.write([Event("tool.requested", {"tool": "victim"})])
            time.sleep(BETWEEN_ROUNDS_S)


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
    """Two processes that write and seal; yields what makes and kills a third."""
    running = [start("write_and_seal", folder) for _ in range(2)]
    victims: list[subprocess.Popen[str]] = []

    def next_victim() -> None:
        for victim in victims:
            end(victim)
        victims[:] = [start("write_only", folder)]

    try:
        yield running, next_victim
    finally:
        for process in (*running, *victims):
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def soak(folder: Path, reads: int) -> list[tuple[str, list[float]]]:
    """Read while others are busy; returns what each reader says.

    Raises:
        RuntimeError: a writer or a reader ended by itself.
    """
    rng = random.Random(1)
    with busy(folder) as (running, next_victim):
        while not any((folder / "hot").glob("*.jsonl")):
            time.sleep(0.05)
        places = {"here": reads - reads // 2, "jail": reads // 2}
        readers = {where: start("read", folder, count, where) for where, count in places.items()}
        while any(reader.poll() is None for reader in readers.values()):
            if any(process.poll() is not None for process in running):
                raise RuntimeError("a writer ended by itself")
            next_victim()
            time.sleep(rng.uniform(0.2, 2.0))
        said = [(where, reader.communicate()[0].split()) for where, reader in readers.items()]
        if any(reader.returncode for reader in readers.values()):
            raise RuntimeError("a reader failed, see above")
    return [(where, [float(word) for word in words]) for where, words in said]


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--reads", type=int, default=10_000)
    reads = asked.parse_args().reads
    from sashizu_audit import verify_record
    from sashizu_audit.sealing import seal_record

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "audit"
        found = soak(folder, reads)
        sealed = seal_record(folder)
        report = verify_record(folder)
        files = len(list(folder.glob("sealed/*/*")))
    for where, (count, doubled, missed, shrunk, ms) in found:
        print(
            f"{where}: {count:.0f} reads of {ms} ms, {doubled:.0f} with an event twice, "
            f"{missed:.0f} with one missing, {shrunk:.0f} with fewer than before"
        )
    print(
        f"{report.events} events in {files} sealed segments by {len(report.writers)} writers; "
        f"verify ends with {report.exit_code}"
    )
    failures = sum(sum(numbers[1:4]) for _, numbers in found)
    torn = 2  # what a killed writer may leave, and nothing worse
    return int(bool(failures) or report.exit_code not in (0, torn) or sealed is None)


if __name__ == "__main__":
    match sys.argv[1:2]:
        case ["write_and_seal"]:
            write_and_seal(Path(sys.argv[2]))
        case ["write_only"]:
            write_only(Path(sys.argv[2]))
        case ["read"]:
            read(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        case _:
            sys.exit(main())
