"""What the operator allows at most: the outermost level of every chain."""

from __future__ import annotations

from dataclasses import dataclass

from sashizu_core.grants import Grants, Rule

__all__ = ["OperatorPolicy"]


@dataclass(frozen=True, slots=True)
class OperatorPolicy:
    """A ceiling and rules that hold for every agent; by default neither.

    What is None is not bounded by the operator. `source` says where the policy was read. `above` is
    that of whoever administers the machine: both hold.
    """

    tools: frozenset[str] | None = None
    fs_read: tuple[str, ...] | None = None
    fs_write: tuple[str, ...] | None = None
    net: tuple[str, ...] | None = None
    exec: tuple[str, ...] | None = None
    spawn: frozenset[str] | None = None
    devices: frozenset[str] | None = None
    rules: tuple[Rule, ...] = ()
    source: str = ""
    above: OperatorPolicy | None = None

    def ceilings(self, own: Grants, folder: str = "") -> tuple[Grants, ...]:
        """The levels above an agent that nobody started: none where nothing is bounded.

        What the operator does not bound is bounded by what the agent has itself, so that the level
        takes nothing away there. `folder` is what the run itself lets the agent write.
        """
        outer = self.above.ceilings(own, folder) if self.above is not None else ()
        if self == OperatorPolicy(source=self.source, above=self.above):
            return outer
        written = self.fs_write
        if written is not None and folder:
            written = (*written, folder)
        said = {"exec": self.exec, "net": self.net}
        level = Grants(
            tools=self.tools,
            fs_read=own.fs_read if self.fs_read is None else self.fs_read,
            fs_write=own.fs_write if written is None else written,
            net=own.net if self.net is None else self.net,
            exec=own.exec if self.exec is None else self.exec,
            spawn=own.spawn if self.spawn is None else self.spawn,
            devices=own.devices if self.devices is None else self.devices,
            source=self.source,
            rules=self.rules,
            silent_on=frozenset(kind for kind, bound in said.items() if bound is None),
        )
        return (*outer, level)
