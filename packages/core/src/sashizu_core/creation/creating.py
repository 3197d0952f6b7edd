"""`create_agent`: a definition made by a model, no wider than what its maker may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from sashizu_core.agents import AgentDefinition
from sashizu_core.creation.clipping import RefusedWish, clipped
from sashizu_core.creation.draft import draft_problem, read_draft
from sashizu_core.creation.maker import maker, making_task
from sashizu_core.creation.written import fingerprint, yaml_text
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.grants import Grants
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.conducting import Conductor, conducting
from sashizu_core.runtime.opened_run import guarded, sources_of
from sashizu_core.types import RunReport

__all__ = ["CreatedAgent", "create_agent"]


@dataclass(frozen=True, slots=True)
class CreatedAgent:
    """What became of the wish for an agent.

    `definition` is what it may be, `text` its file and `sha256` the fingerprint of that; all three
    are empty where none came about, and `error` says why. `refused` is what it asked for and did
    not get. `model` wrote it; `by_rules` says that this is no language model.
    """

    definition: AgentDefinition | None
    text: str
    sha256: str
    refused: tuple[RefusedWish, ...]
    model: str
    by_rules: bool
    error: str
    run: RunReport

    @property
    def ok(self) -> bool:
        return self.definition is not None


async def create_agent(
    prompt: str, *, ceilings: Sequence[Grants] = (), **options: Any
) -> CreatedAgent:
    """Have a model write the definition of an agent; nothing is saved and nothing of it is run.

    The draft is held against the schema of definitions, and sent back at most twice with what is
    wrong. What it grants is then clipped to what the operator's policy and `ceilings` allow, and
    its budget to that of this run, out of which the model is paid.

    Args:
        prompt: what the agent is wished for.
        ceilings: what those allow at most who make the agent, outermost first.
        options: what `delegate_parallel` takes besides.

    Raises:
        UsageError: something asked for does not exist or does not fit together.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the record cannot be written.
    """
    if not prompt.strip():
        raise UsageError("the prompt is empty: say what the agent is for")
    definitions = options.pop("definitions", ())
    asked = asked_by((), agents=definitions, **options)
    return await guarded(asked, partial(_created, prompt, tuple(ceilings)))


async def _created(
    prompt: str, ceilings: tuple[Grants, ...], asked: Asked, redactor: Redactor
) -> CreatedAgent:
    tools = asked.registry.tools
    known = sources_of(asked).catalogue
    task = making_task(prompt, known, tools)
    asked = replace(asked, agents=[*asked.agents, maker(tools)], tasks=[task])
    about = {"op": "create_agent"}
    async with conducting(asked, sources_of(asked), redactor, about=about) as conductor:
        plan = conductor.first[0]
        instance = await conductor.instance(plan, accept=draft_problem(known, tools))
        report = await conductor.work(instance)
        made: tuple[AgentDefinition, tuple[RefusedWish, ...], str] | None = None
        error = report.error or ("" if report.ok else report.outcome.value)
        if report.ok:
            try:
                made = _bounded(read_draft(report.answer), asked, ceilings)
            except ConfigError as fault:
                error = str(fault)
        conductor.ok = made is not None
        model = conductor.model_info(plan)
        if made is not None:
            await _record(conductor, *made)
        definition, refused, text = made or (None, (), "")
        return CreatedAgent(
            definition,
            text,
            fingerprint(text) if text else "",
            refused,
            plan.model,
            not model.bills_tokens,
            error,
            await conductor.report(),
        )


def _bounded(
    draft: AgentDefinition, asked: Asked, ceilings: tuple[Grants, ...]
) -> tuple[AgentDefinition, tuple[RefusedWish, ...], str]:
    """What may be of a draft, what was refused of it, and its file."""
    operators = asked.settings.policy.ceilings(draft.grants())
    definition, refused = clipped(draft, (*operators, *ceilings), asked.budget)
    return definition, refused, yaml_text(definition)


async def _record(
    conductor: Conductor,
    definition: AgentDefinition,
    refused: Sequence[RefusedWish],
    text: str,
) -> None:
    """Say in the record which version came about; a later one has another fingerprint."""
    recorder = conductor.parts.recorder
    fields = {
        "op": "create_agent",
        "status": "made",
        "sha256": fingerprint(text),
        "bytes": len(text.encode()),
        "attrs": {"agent": definition.name, "refused": [asdict(each) for each in refused]},
    }
    await recorder.record([recorder.event("config.changed", fields)])
