"""What `local` in `[models.NAME]` says of a server that is the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sashizu_core.limits import parse_duration
from sashizu_core.settings_tables import Duration, Table

__all__ = ["LocalTable", "parse_bytes"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(value: Any) -> int:
    """A size such as `6GiB` (powers of 1,024) or `6GB` (powers of 1,000), in bytes.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write a size such as '6GiB' or '800MB'")
    unit = found[2] or ""
    base = 1024 if unit.endswith("i") else 1000
    try:
        return int(float(found[1]) * base ** (_POWERS[unit[0]] if unit else 0))
    except OverflowError:
        raise ValueError("that is no size of anything") from None


Size = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0, le=1 << 50)]
Slots = Annotated[int, Field(strict=True, ge=1, le=10_000)]


class LocalTable(Table):
    """`local`: the server is the user's own and costs nothing.

    `slots` is how many calls it works on at once; more than that wait here, so that the time in its
    queue does not count as silence.

    `start` is the command that starts the server: with it, calls wait for a place on a device, and
    the server runs only while it has one. The place is as large as `vram`, or as `weights` and what
    it takes to run them, with what each of `slots` calls of `context` tokens is remembered in, at
    `kv_bits` for a number; on the device of the kind `on`. One that `measures` what is free when it
    starts has its device for itself meanwhile. The server has `start_timeout` to answer,
    and stays for `keep` without a call (not at all where that is left out). A call that has waited
    for `spill_after` fails as that of a busy service, so that a fallback can take it.
    """

    slots: Slots | None = None
    weights: Path | None = None
    vram: Size | None = None
    start: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    context: Annotated[int, Field(strict=True, ge=1, le=1 << 30)] | None = None
    kv_bits: Literal[4, 8, 16, 32] = 16
    measures: bool = False
    on: Literal["gpu", "host"] = "gpu"
    start_timeout: Duration = "5m"
    keep: Duration | None = None
    spill_after: Duration | None = None

    @model_validator(mode="after")
    def _whole(self) -> LocalTable:
        if self.start is not None and self.vram is None and self.weights is None:
            raise ValueError("'start' needs to know the size: add vram = '6GiB', or weights = PATH")
        if self.context is not None and self.weights is None:
            raise ValueError("'context' says how much 'weights' take on top: add weights = PATH")
        return self

    @property
    def start_timeout_s(self) -> float:
        return parse_duration(self.start_timeout)

    @property
    def keep_s(self) -> float:
        return parse_duration(self.keep) if self.keep is not None else 0.0

    @property
    def spill_after_s(self) -> float | None:
        return parse_duration(self.spill_after) if self.spill_after is not None else None
