"""What models and tools say of themselves: whether they can be used on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio

from sashizu_cli.plain import one_line

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry
    from sashizu_core.specs import ModelSpec, ToolSpec

__all__ = ["State", "probed"]

State = Literal["ok", "absent", "problem"]


def probed(registry: Registry) -> Iterator[tuple[str, State, str]]:
    """Each model and tool that can look before it is used: what it is, its state, and why."""
    offered: list[tuple[str, ModelSpec | ToolSpec]] = [
        *((f"model {one.name}", one) for one in registry.models.values()),
        *((f"tool {one.name}", one) for one in registry.tools.values()),
    ]
    for about, spec in offered:
        if spec.probe is None:
            continue
        try:
            found = anyio.run(partial(spec.probe))
        except Exception as error:  # noqa: BLE001 - a plugin's mistake is a finding too
            yield about, "problem", one_line(f"looking failed: {error}")
            continue
        text = f"{found.reason}; {found.remedy}" if found.remedy else found.reason
        yield about, "ok" if found.ready else "absent", one_line(text)
