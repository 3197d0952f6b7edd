"""What a caller of `delegate_parallel` can say, checked before anything happens."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sashizu_core.agents import AgentDefinition
from sashizu_core.control import RunHandle
from sashizu_core.errors import UsageError
from sashizu_core.handoff import Handoff, Received
from sashizu_core.home import state_home
from sashizu_core.ids import RunId, new_run_id
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Approver, EventSink
from sashizu_core.runtime.conversation import Conversation, load_conversation
from sashizu_core.runtime.reserved import check_workspace
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.settings import Settings, load_settings
from sashizu_core.types import Limits, Task

__all__ = ["Asked", "asked_by", "handoff_of", "workspace_folder"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything a caller of `delegate_parallel` can say, once.

    `received` is what another process handed over: all of it happens below that. `settings_root` is
    the folder whose agents are known and trusted, None for `root`. `past` is the run that is made
    again or gone on with, `named_before` how many agents of a name began elsewhere before those of
    the tasks, `supervised` what a supervisor was asked, as JSON values.
    """

    tasks: Sequence[Task]
    settings: Settings
    registry: Registry
    root: Path
    budget: Limits
    deadline_s: float | None
    jobs: int
    model: str | None
    audit: bool
    sinks: Sequence[EventSink]
    approver: Approver | None
    on_text: Callable[[str, str], None] | None
    on_line: Callable[[str, str], None] | None
    on_start: Callable[[RunHandle], None] | None
    conversation: Conversation | None
    isolation: str
    agents: Sequence[AgentDefinition]
    run_id: RunId
    received: Received | None = None
    settings_root: Path | None = None
    rebalance: bool = False
    past: RunPast | None = None
    named_before: Mapping[str, int] = field(default_factory=dict)
    supervised: Mapping[str, Any] | None = None


def asked_by(
    tasks: Sequence[Task],
    *,
    workspace: Path | str = ".",
    budget: Limits | None = None,
    deadline_s: float | None = None,
    jobs: int | None = None,
    model: str | None = None,
    audit: bool = True,
    isolation: str | None = None,
    agents: Sequence[AgentDefinition] = (),
    sinks: Sequence[EventSink] = (),
    approver: Approver | None = None,
    on_text: Callable[[str, str], None] | None = None,
    on_line: Callable[[str, str], None] | None = None,
    on_start: Callable[[RunHandle], None] | None = None,
    continue_conversation: str | None = None,
    settings: Settings | None = None,
    registry: Registry | None = None,
    run_id: RunId | None = None,
    received: Received | None = None,
    rebalance: bool = False,
) -> Asked:
    """What a caller says, filled up from the settings; see `delegate_parallel`.

    Raises:
        UsageError: a number is out of range, the id of the run is none, an input is no text, the
            workspace is no folder, or there is no such conversation.
        ConfigError: a settings file is wrong.
    """
    root = workspace_folder(workspace)
    settings = settings if settings is not None else load_settings(root)
    run = settings.run
    if registry is None:
        from sashizu_core.plugins import open_registry

        registry = open_registry(settings)
    asked = Asked(
        tasks=tasks,
        settings=settings,
        registry=registry,
        root=root,
        budget=budget if budget is not None else run.limits[0],
        deadline_s=deadline_s if deadline_s is not None else run.deadline_s,
        jobs=jobs if jobs is not None else run.jobs,
        model=model,
        audit=audit,
        sinks=sinks,
        approver=approver,
        on_text=on_text,
        on_line=on_line,
        on_start=on_start,
        conversation=(
            load_conversation(state_home(), continue_conversation)
            if continue_conversation
            else None
        ),
        isolation=isolation or run.isolation,
        agents=agents,
        run_id=run_id or new_run_id(),
        received=received,
        rebalance=rebalance,
    )
    _check(asked)
    return asked


def handoff_of(asked: Asked) -> Handoff | None:
    """What another process handed over; None for a run of its own."""
    return asked.received.handoff if asked.received is not None else None


def _check(asked: Asked) -> None:
    """Refuse what no run can be made of.

    Raises:
        UsageError: a number is out of range, the id of the run is none, an input is no text.
    """
    if asked.jobs < 1:
        raise UsageError(f"at least one agent has to work at once, not {asked.jobs} (`jobs`)")
    deadlines = [asked.deadline_s, *[task.deadline_s for task in asked.tasks]]
    for seconds in deadlines:
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise UsageError(f"a deadline has to be a number of seconds above 0, not {seconds!r}")
    if not _UUID.fullmatch(asked.run_id):
        raise UsageError(f"the id of a run is a UUID in lower case, not {asked.run_id!r}")
    for task in asked.tasks:
        for name, value in dict[Any, Any](task.inputs).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise UsageError(f"inputs of {task.agent!r} have to be text; {name!r} is not")


def workspace_folder(workspace: Path | str) -> Path:
    """The workspace as an absolute path.

    Raises:
        UsageError: it is no folder.
    """
    root = Path(os.path.abspath(workspace))  # noqa: PTH100 - links are resolved when opened
    check_workspace(root)
    if not root.is_dir():
        raise UsageError(f"the workspace {str(workspace)!r} is no folder (looked for {root})")
    return root
