"""Collects for a host until it is killed: DSN HOST FOLDER."""

import sys
from pathlib import Path

import anyio
from sashizu_audit.asking import asked
from sashizu_audit.writer import AuditWriter
from sashizu_cluster.collecting import Collector, only_collector
from sashizu_cluster.database import Database


async def main(dsn: str, host: str, folder: Path) -> None:
    def question(sql, limit, timeout_s):
        return asked(folder, sql, limit=limit, timeout_s=timeout_s)

    with only_collector(folder.parent, host), AuditWriter(folder) as writer:
        collector = Collector(Database(dsn), host, writer, question, most=20)
        print("collects", flush=True)
        await collector.run()


anyio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[3]))
