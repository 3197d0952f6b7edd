import signal

import anyio
import pytest
from sashizu_cli.interrupts import Interrupts
from sashizu_core.control import RunHandle


class Scope:
    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


@pytest.mark.parametrize("number", SIGNALS)
async def test_the_first_signal_ends_the_run_with_reports_and_the_second_at_once(number, capfd):
    given_up = anyio.Event()
    interrupts = Interrupts(given_up.set)
    handle, scope = RunHandle("r"), Scope()
    handle.track("a", scope)
    interrupts.attach(handle)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            await group.start(interrupts.watch)
            signal.raise_signal(number)
            while not interrupts.count:
                await anyio.lowlevel.checkpoint()
            assert (scope.cancelled, handle.reason) == (1, "interrupted")
            assert not given_up.is_set()
            signal.raise_signal(number)
            await given_up.wait()
            group.cancel_scope.cancel()

    assert "interrupted: ending with reports (once more ends at once)" in capfd.readouterr().err


def test_a_signal_before_the_run_has_begun_ends_it_when_it_does():
    interrupts = Interrupts()
    handle = RunHandle("r")

    interrupts.hit()
    interrupts.attach(handle)

    assert handle.reason == "interrupted"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a terminal says nothing here")
def test_a_terminal_that_is_gone_ends_no_run_that_goes_on_elsewhere():
    left: list[bool] = []
    interrupts = Interrupts(lambda: left.append(True))
    handle = RunHandle("r", outlasts=True)
    interrupts.attach(handle)

    interrupts.hit(signal.SIGHUP)

    assert (left, handle.reason) == ([True], "")
