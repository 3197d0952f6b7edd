"""Where `sashizu mcp-server` begins: answers first requests from file, then wakes the rest.

Until the first request that is not prepared, nothing is imported but what the interpreter brings.
Every byte that was read goes on to the whole program.
"""

import os
import sys

from sashizu_mcp_server.startup.answers import FirstAnswers
from sashizu_mcp_server.startup.apart import prepare_apart
from sashizu_mcp_server.startup.jsontext import read_json
from sashizu_mcp_server.startup.lines import Lines
from sashizu_mcp_server.startup.options import Options, read_options
from sashizu_mcp_server.startup.prepared import read_prepared

__all__ = ["Opening", "main"]

IDLE_S = 12 * 3600.0
"""How long a server lives whose client says nothing, in seconds."""


class Opening:
    """What was said before the whole program woke.

    `first` knows the handshake, None if nothing was prepared; `frames` are the lines that were read
    and not answered; `rest` are the bytes that came after them.
    """

    __slots__ = ("first", "frames", "rest")

    def __init__(
        self,
        first: "FirstAnswers | None" = None,
        frames: "list[bytes] | None" = None,
        rest: bytes = b"",
    ) -> None:
        self.first = first
        self.frames = frames if frames is not None else []
        self.rest = rest


def main(words: "list[str]") -> "int | None":
    """Serve; returns the exit code, or None where the words are for the real parser."""
    options = read_options(words)
    if options is None:
        return None
    if options.http or options.late or options.idle or options.leased:
        return _whole(options, Opening())
    try:
        prepared = read_prepared(options)
        if prepared is None and prepare_apart(options):
            prepared = read_prepared(options)
        opening = Opening() if prepared is None else _answered(FirstAnswers(prepared))
    except KeyboardInterrupt:
        return 130
    return 0 if opening is None else _whole(options, opening)


def _answered(first: FirstAnswers) -> "Opening | None":
    """Answer until a frame comes that is not prepared; None if nobody is there any more."""
    lines = Lines(0)
    while (line := lines.next(IDLE_S)) is not None:
        try:
            answer = first.answer(read_json(line))
        except ValueError:
            answer = None
        if answer is None:
            return Opening(first, [line], lines.rest)
        if not _written(answer):
            return None
    return None


def _written(data: bytes) -> bool:
    """Write all of it; False if nobody reads."""
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        return False
    return True


def _whole(options: Options, opening: Opening) -> int:
    import gc

    gc.set_threshold(50_000, 20, 100)  # importing makes many objects, and hardly any garbage
    from sashizu_mcp_server.server.run import run_server

    return run_server(options, opening)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
