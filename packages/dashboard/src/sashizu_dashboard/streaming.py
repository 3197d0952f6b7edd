"""What happens, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import anyio

from sashizu_dashboard.watching import Watch

__all__ = ["streamed"]

BEAT_S = 15.0
"""After so many seconds without news a comment is sent, which finds out who has left."""

BREATH_S = 0.2
"""Seconds between two looks: what happens meanwhile travels together."""


async def streamed(watch: Watch, place: str, run_id: str) -> AsyncGenerator[bytes]:
    """What happened after `place`, of one run or of all, until the dashboard ends.

    `happened` brings one event, `changed` says that pages look different now, `missed` that events
    are lacking here. Each `changed` carries the place to come back to.
    """
    seen = -1
    yield b"retry: 1000\n\n"
    while not watch.closed:
        waited_for = watch.news
        found = watch.since(place, run_id)
        version, place = watch.version(run_id), found.place
        out = [b"event: missed\ndata: \n\n"] if found.missed else []
        for event in found.events:
            data = json.dumps(event.plain(), ensure_ascii=True)
            out.append(f"event: happened\ndata: {data}\n\n".encode())
        if version != seen:
            out.append(f"id: {place}\nevent: changed\ndata: \n\n".encode())
            seen = version
        if out:
            yield b"".join(out)
            await anyio.sleep(BREATH_S)
        elif not await watch.wait(waited_for, BEAT_S):
            yield b": still here\n\n"
