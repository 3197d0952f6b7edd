"""Operations of COM, awaited: whatever thread they end in, and whenever somebody gives up."""

from __future__ import annotations

import threading

import anyio
import pytest
from sashizu_winai.apartment import Apartment, from_any_thread
from sashizu_winai.errors import Denied, Missing


class Played:
    """An operation that ends when it is told to, in the way and the thread that it is told."""

    def __init__(self, result: object = 7, *, ends: str = "elsewhere") -> None:
        self.result = result
        self.ends = ends
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        self._handler = None

    @property
    def completed(self):
        return self._handler

    @completed.setter
    def completed(self, handler):
        assert self._handler is None, "a second handler is an error in COM"
        self._handler = handler
        self.begun.set()
        if self.ends == "at once":
            handler(self, 1)
        elif self.ends == "elsewhere":
            threading.Thread(target=handler, args=(self, 1)).start()

    def get_results(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def cancel(self):
        self.cancelled.set()


@pytest.fixture
def apartment():
    entered: list[int] = []

    def enter():
        ident = threading.get_ident()
        assert ident not in entered
        entered.append(ident)

    found = Apartment(enter)
    found.entered = entered
    return found


@pytest.mark.parametrize("ends", ["at once", "elsewhere"])
async def test_an_operation_gives_its_result_wherever_it_ends(apartment, ends):
    assert await apartment.finished("do it", lambda: Played(ends=ends)) == 7
    assert apartment.entered
    assert threading.get_ident() not in apartment.entered


async def test_a_code_of_com_becomes_an_error_of_ours(apartment):
    refused = OSError("no")
    refused.winerror = 0x80070005 - (1 << 32)
    with pytest.raises(Denied) as caught:
        await apartment.finished("do it", lambda: Played(refused))
    assert caught.value.hresult == 0x80070005


async def test_a_member_that_an_older_build_lacks_is_missing(apartment):
    with pytest.raises(Missing, match="get_default"):
        await apartment.call("do it", lambda: getattr(object(), "get_default"))  # noqa: B009


async def test_giving_up_on_an_operation_cancels_it(apartment):
    played = Played(ends="never")
    async with anyio.create_task_group() as group:
        group.start_soon(apartment.finished, "do it", lambda: played)
        await anyio.to_thread.run_sync(played.begun.wait, 10)
        group.cancel_scope.cancel()
    assert played.cancelled.is_set()


async def test_an_operation_that_begins_after_somebody_gave_up_is_cancelled(apartment):
    played, asked, let_go = Played(ends="never"), threading.Event(), threading.Event()

    def begin():
        asked.set()
        let_go.wait(10)
        return played

    async with anyio.create_task_group() as group:
        group.start_soon(apartment.finished, "do it", begin)
        await anyio.to_thread.run_sync(asked.wait, 10)
        group.cancel_scope.cancel()
    assert not played.cancelled.is_set()
    let_go.set()
    assert await anyio.to_thread.run_sync(played.cancelled.wait, 10)


async def test_what_other_threads_tell_arrives_in_the_loop():
    heard: list[tuple[str, int]] = []
    tell = from_any_thread(lambda text: heard.append((text, threading.get_ident())))

    tell("here")
    await anyio.to_thread.run_sync(tell, "there")

    assert heard == [("here", threading.get_ident()), ("there", threading.get_ident())]
