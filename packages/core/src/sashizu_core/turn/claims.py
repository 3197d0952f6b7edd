"""Which agent of a run changes which file, where they all work in the same folder."""

from __future__ import annotations

from collections.abc import Iterable

from sashizu_core.granted_paths import lies_in

__all__ = ["Claims"]


class Claims:
    """The paths that agents of a run have begun to change, until it ends.

    The first to change a file has it: another agent that wants it gets an error instead of
    overwriting what it has not seen. What programs write is not known here.

    An agent waits for those that it starts, so what it has changed is theirs to change, one at a
    time; when one of them has ended, what that one had is the waiting agent's again.
    """

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, str]] = {}
        self._above: dict[str, tuple[str, str]] = {}

    def descend(self, agent_id: str, above_id: str, above_name: str) -> None:
        """Say which agent waits for another."""
        self._above[agent_id] = (above_id, above_name)

    def pass_on(self, agent_id: str) -> None:
        """An agent has ended: what it had is now that of the one that waited for it."""
        above = self._above.pop(agent_id, None)
        if above is None:
            return
        for path, owner in self._owners.items():
            if owner[0] == agent_id:
                self._owners[path] = above

    def _lineage(self, agent_id: str) -> set[str]:
        """An agent, and all that wait for it."""
        found = {agent_id}
        while agent_id in self._above:
            agent_id = self._above[agent_id][0]
            found.add(agent_id)
        return found

    def take(self, agent_id: str, agent_name: str, paths: Iterable[str]) -> str:
        """Claim all paths, or none; says why not, empty when they are claimed.

        Paths are those of `PathRequest`, compared without regard to case.
        """
        wanted = {path: path.casefold() for path in paths}
        own = self._lineage(agent_id)
        for path, folded in wanted.items():
            for claimed, (owner_id, owner) in self._owners.items():
                if owner_id not in own and (lies_in(folded, claimed) or lies_in(claimed, folded)):
                    return (
                        f"{path!r} is being changed by the agent {owner!r} of this run; "
                        "leave it to that agent, or say in your answer what should change"
                    )
        for folded in wanted.values():
            self._owners[folded] = (agent_id, agent_name)
        return ""
