"""What becomes of an agent's work when it has ended: verified, and brought home."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread

from sashizu_core.errors import RecordError, SashizuError
from sashizu_core.events import Event
from sashizu_core.runtime.artifacts import Versions, verify_artifacts
from sashizu_core.runtime.places import Place, Places
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import AgentReport, Artifact, ChangedFile, Changes, StepKind

__all__ = ["Concluding"]

logger = logging.getLogger(__name__)

Report = Callable[[tuple[Artifact, ...], tuple[str, ...]], AgentReport]
"""Makes the report of an agent from the artifacts that are there, and the paths of others."""


@dataclass(frozen=True, slots=True)
class Concluding:
    """The end of one agent instance, as the last of its `steps`.

    An answer without its artifacts, or whose changes cannot be kept, is no success.
    """

    plan: AgentPlan
    place: Place
    places: Places
    steps: StepContext

    async def now(self, report: Report, before: Versions, written: Collection[str]) -> AgentReport:
        """Verify what was declared, and keep what was changed.

        `before` is what was there when the agent began, `written` are the paths that it wrote.

        Raises:
            RecordError: the record cannot be written.
        """
        artifacts: tuple[Artifact, ...] = ()
        missing: tuple[str, ...] = ()
        with anyio.CancelScope(shield=True):
            try:
                if self.plan.targets:
                    artifacts, missing = await anyio.to_thread.run_sync(
                        verify_artifacts,
                        self.place.workspace,
                        self.plan.targets,
                        before,
                        written,
                    )
                changes = await self._keep(artifacts)
            except RecordError:
                raise
            except Exception as error:
                if not isinstance(error, SashizuError):
                    logger.exception("what %s made cannot be kept", self.plan.name)
                return _not_kept(report(artifacts, missing), error)
        return replace(report(artifacts, missing), changes=changes)

    async def as_recorded(self, past: AgentPast, report: Report) -> AgentReport:
        """What was verified and kept then: today's files may be others.

        Raises:
            RecordError: the record cannot be written.
        """
        attrs = past.ended.get("attrs") or {}
        artifacts = tuple(
            Artifact(str(each["path"]), str(each["sha256"]), int(each["bytes"]))
            for each in attrs.get("artifacts") or ()
        )
        missing = tuple(map(str, attrs.get("missing") or ()))
        try:
            changes = await self._keep(artifacts)
        except SashizuError as error:
            return _not_kept(report(artifacts, missing), error)
        return replace(report(artifacts, missing), changes=changes)

    async def _keep(self, artifacts: tuple[Artifact, ...]) -> Changes | None:
        """Bring home what was made in a folder of its own: on record before a file is touched."""
        kept = self._kept_then()
        if self.place.folder is None and kept is None:
            return None
        recorder, common = (
            self.steps.recorder,
            {"step": self.steps.next_seq(), "op": "keep_changes"},
        )
        common["step_kind"] = StepKind.IDEMPOTENT.value
        common["tool"] = self.plan.isolation

        async def keep() -> Changes | None:
            await self.places.bring_home(self.place, artifacts, self.plan.folder)
            return await self.place.conclude()

        def outcome(
            changes: Changes | None,  # noqa: ARG001 - `agent.ended` names them
            error: BaseException | None,
            took_ns: int,
        ) -> Sequence[Event]:
            status = "ok" if error is None else "error"
            return [
                recorder.event("tool.ended", {**common, "status": status, "duration_ns": took_ns})
            ]

        async def recall(step: RecordedStep) -> Changes | None:
            if step.outcome.get("status") == "error":
                raise SashizuError("as it was recorded")
            return kept[0] if kept is not None else None

        intent = [recorder.event("tool.requested", common)]
        return await self.steps.step(StepKind.IDEMPOTENT, intent, keep, outcome, recall)

    def _kept_then(self) -> tuple[Changes | None] | None:
        """What was kept of a recorded agent's own folder; None where it had none."""
        past = self.steps.past
        step = past.steps.get(self.steps.count) if past is not None and past.strict else None
        if past is None or step is None or step.intent.get("op") != "keep_changes":
            return None
        said = (past.ended.get("attrs") or {}).get("changes")
        if said is None:
            return (None,)
        files = tuple(ChangedFile(str(path), "modified") for path in said["files"])
        return (Changes(str(said["branch"]), "", str(said["commit"]), "", files),)


def _not_kept(report: AgentReport, error: Exception) -> AgentReport:
    return replace(report, status="error", error=f"its work is not kept: {error}")
