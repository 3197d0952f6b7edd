"""The command `dashboard`: serves until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

if TYPE_CHECKING:
    from sashizu_dashboard.record import Query
    from sashizu_dashboard.serving import Listening

__all__ = ["app"]

app = typer.Typer(
    help="Show runs in a browser, as they are.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def dashboard(
    ctx: typer.Context,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where on this machine; port 0 takes any."
        ),
    ] = "127.0.0.1:8798",
    token_file: Annotated[
        str,
        typer.Option(
            "--token-file", metavar="FILE", help="Write the address there, mode 0600, unprinted."
        ),
    ] = "",
) -> None:
    """Show runs in a browser: what is at work, what it costs, what is asked and refused.

    Agents can be ended there and their questions answered, and the record be asked in SQL. Only
    this machine reaches it, and only who has the token that is printed. Ctrl-C ends it; runs go on.
    """
    from sashizu_dashboard.asked_record import query_of
    from sashizu_dashboard.serving import address_of, listening

    with listening(address_of(listen)) as place:
        anyio.run(_serve, place, query_of(ctx), token_file)


async def _serve(place: Listening, query: Query | None, token_file: str) -> None:
    from sashizu_core.home import state_home

    from sashizu_dashboard.access import Access
    from sashizu_dashboard.history import History
    from sashizu_dashboard.serving import serve
    from sashizu_dashboard.site import site
    from sashizu_dashboard.watching import Watch

    access = Access(place.address.port)
    watch = Watch(state_home())
    app = site(watch, History(watch.home, query), access)
    async with _told_to_end() as ended, anyio.create_task_group() as group:
        group.start_soon(watch.follow)
        async with serve(app, place, watch.close):
            _announce(f"{place.address.url}/enter?token={access.token}", token_file)
            await ended.wait()
        # A socket that is read from just then may complain that nobody waits for it any more.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        group.cancel_scope.cancel()


@asynccontextmanager
async def _told_to_end() -> AsyncGenerator[anyio.Event]:
    """Set at Ctrl-C, SIGTERM, or when the terminal is closed."""
    ended = anyio.Event()
    names = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]

    async def wait() -> None:
        with anyio.open_signal_receiver(*(name for name in names if name)) as signals:
            async for _ in signals:
                ended.set()
                return

    async with anyio.create_task_group() as group:
        if os.name == "posix":  # elsewhere Ctrl-C raises
            group.start_soon(wait)
        yield ended
        group.cancel_scope.cancel()


def _announce(url: str, token_file: str) -> None:
    from sashizu_dashboard.writing import write_page

    if token_file:
        write_page(Path(token_file), f"{url}\n", force=True)
        said = f"its address is in {token_file}"
    else:
        said = f"open {url}"
    sys.stderr.write(f"sashizu: the dashboard is ready; {said}\n")
    sys.stderr.flush()
