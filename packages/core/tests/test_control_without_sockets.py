"""Runs on a system that has no Unix sockets, as Python on Windows has none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sashizu_core.control import ControlServer, RunHandle, RunInfo, cancel, list_runs, running_runs
from sashizu_core.errors import SashizuError

RUN = "01900000-0000-7000-8000-000000000001"


async def test_without_sockets_a_run_is_listed_by_its_process_and_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_core.control.client.SUPPORTED", False)
    monkeypatch.setattr("sashizu_core.control.server.SUPPORTED", False)
    info = RunInfo(RUN, ["a"], "/somewhere", os.getpid(), time.time())
    async with ControlServer(RunHandle(RUN), info, tmp_path).serve():
        assert [run.status for run in running_runs(tmp_path)] == ["running"]
        with pytest.raises(SashizuError, match="unsupported: this system has no Unix sockets"):
            await cancel(RUN, home=tmp_path)
        info.pid = 2**22 + 1  # above every number that Linux gives
        ended = (
            (tmp_path / "runs" / f"{RUN}.json")
            .read_text()
            .replace(f'"pid": {os.getpid()}', f'"pid": {info.pid}')
        )
        (tmp_path / "runs" / f"{RUN}.json").write_text(ended)
        assert [run.status for run in list_runs(tmp_path)] == ["lost"]
