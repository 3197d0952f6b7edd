"""Questions of a run, answered by another process of the same user."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import anyio
import pytest
from sashizu_core.approvals import AnsweredElsewhere, Approvals
from sashizu_core.control import ControlServer, RunHandle, RunInfo, approve, status
from sashizu_core.errors import SashizuError
from sashizu_core.grants import PathRequest, Subject, ToolRequest
from sashizu_core.types import Decision

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets"
)

RUN = "01900000-0000-7000-8000-000000000001"
ASK = Decision("ask", "sure?", "ask write: a", "rule")
CALL = (ToolRequest("write_file"), PathRequest("a", "write"))


def server(home: Path, approvals: Approvals | None) -> ControlServer:
    handle = RunHandle(RUN, approvals=approvals)
    return ControlServer(handle, RunInfo(RUN, ["a"], "/x", os.getpid(), time.time()), home)


async def test_a_question_is_listed_and_answered_over_the_socket(tmp_path: Path) -> None:
    approvals = Approvals(AnsweredElsewhere())
    async with server(tmp_path, approvals).serve(), anyio.create_task_group() as group:
        call = group.create_task(
            approvals.decide("write_file", CALL, CALL[1:], Subject("id", "agent", ()), ASK)
        )
        with anyio.fail_after(5):
            while not approvals.pending:
                await anyio.lowlevel.checkpoint()
            (question,) = (await status(RUN, tmp_path))["questions"]
            assert (question["agent"], question["tool"]) == ("agent", "write_file")
            assert ["write", "a"] in question["shown"]
            assert await approve(RUN, question["id"], "run", tmp_path)
            assert not await approve(RUN, question["id"], "deny", tmp_path)
        assert (await status(RUN, tmp_path))["questions"] == []
    assert call.return_value.allowed
    assert call.return_value.source == "approver: control socket"


async def test_an_answer_that_is_none_is_refused(tmp_path: Path) -> None:
    async with server(tmp_path, Approvals(AnsweredElsewhere())).serve():
        with pytest.raises(SashizuError, match="'always' is no answer"):
            await approve(RUN, "1", "always", tmp_path)  # type: ignore[arg-type]


async def test_a_run_that_asks_nobody_says_so(tmp_path: Path) -> None:
    async with server(tmp_path, None).serve():
        assert (await status(RUN, tmp_path))["questions"] == []
        with pytest.raises(SashizuError, match="asks nobody"):
            await approve(RUN, "1", "once", tmp_path)


async def test_a_run_that_has_ended_takes_no_answer(tmp_path: Path) -> None:
    control = server(tmp_path, None)
    async with control.serve():
        control.ended("ok", 1)
    assert not await approve(RUN, "1", "once", tmp_path)
