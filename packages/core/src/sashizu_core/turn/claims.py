"""Which agent of a run changes which file, where they all work in the same folder."""

from __future__ import annotations

from collections.abc import Iterable

from sashizu_core.granted_paths import lies_in

__all__ = ["Claims"]


class Claims:
    """The paths that agents of a run have begun to change, until it ends.

    The first to change a file has it: another agent that wants it gets an error instead of
    overwriting what it has not seen. What programs write is not known here.
    """

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, str]] = {}

    def take(self, agent_id: str, agent_name: str, paths: Iterable[str]) -> str:
        """Claim all paths, or none; says why not, empty when they are claimed.

        Paths are those of `PathRequest`, compared without regard to case.
        """
        wanted = {path: path.casefold() for path in paths}
        for path, folded in wanted.items():
            for claimed, (owner_id, owner) in self._owners.items():
                if owner_id != agent_id and (lies_in(folded, claimed) or lies_in(claimed, folded)):
                    return (
                        f"{path!r} is being changed by the agent {owner!r} of this run; "
                        "leave it to that agent, or say in your answer what should change"
                    )
        for folded in wanted.values():
            self._owners[folded] = (agent_id, agent_name)
        return ""
