"""Opens what a run needs: its sinks, models, tools, policies and the ledger."""

from __future__ import annotations

import getpass
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from sashizu_core.devices import chosen
from sashizu_core.errors import MissingPackage, UsageError
from sashizu_core.hosts import AgentHost
from sashizu_core.ids import RunId, span_id, trace_id
from sashizu_core.plugins import Registry
from sashizu_core.protocols import (
    Admission,
    Budget,
    BudgetNode,
    Busy,
    EventSink,
    Model,
    Policy,
    Refused,
    Tool,
    ToolSource,
)
from sashizu_core.runtime.child_opening import OwnedStack
from sashizu_core.runtime.held import open_sandbox, starts_programs
from sashizu_core.runtime.plan import AgentPlan, find_model
from sashizu_core.sandboxing import Sandbox
from sashizu_core.settings import Settings
from sashizu_core.turn.reserving import refusal
from sashizu_core.types import Amount, Bound, Limits, ModelInfo
from sashizu_core.workspace import Workspace

__all__ = ["Opened", "require_prices", "run_context", "span_of"]


class Opened:
    """Everything that plugins opened for one run; closed when the stack is."""

    def __init__(self, registry: Registry, stack: AsyncExitStack | OwnedStack) -> None:
        self._registry = registry
        self._stack = stack

    async def sinks(self, above: Mapping[str, str] | None = None) -> list[EventSink]:
        """The sinks of all plugins; `above` is what `child_handoff` said to this process.

        Raises:
            MissingPackage: none of them is persistent.
        """
        specs = self._registry.sinks.values()
        sinks = []
        for spec in specs:
            beneath = spec.open_beneath if above else None
            opened = spec.open() if beneath is None else beneath(above or {})
            sinks.append(await self._stack.enter_async_context(opened))
        if not any(sink.persistent for sink in sinks):
            raise MissingPackage(
                "a run with a durable record", "sashizu-audit", otherwise="say --no-audit"
            )
        return sinks

    def workspace(self, root: Path, plans: Iterable[AgentPlan]) -> Workspace:
        """The workspace, with what scopes name outside of it."""
        paths = {Path(path) for plan in plans for path in plan.task.scope}
        outside = sorted(path for path in paths if path.is_absolute())
        workspace = Workspace.open(root, extra=outside)
        self._stack.callback(workspace.close)
        return workspace

    async def models(
        self, plans: Iterable[AgentPlan], known: Collection[str] = ()
    ) -> dict[str, Model]:
        """Every model that a plan names, fallbacks included, once; without those that are known."""
        models: dict[str, Model] = {}
        for name in dict.fromkeys(name for plan in plans for name in plan.models):
            if name in known:
                continue
            spec = find_model(name, self._registry.models)
            models[name] = await self._stack.enter_async_context(spec.open(name))
        return models

    async def tools(self, plans: Iterable[AgentPlan]) -> dict[str, Tool]:
        """Every tool that a plan has, once."""
        specs = {name: spec for plan in plans for name, spec in plan.tools.items()}
        return {
            name: await self._stack.enter_async_context(spec.open()) for name, spec in specs.items()
        }

    async def tool_sources(self, root: Path) -> Sequence[ToolSource]:
        """Whoever knows of further tools, once asked."""
        specs = self._registry.tool_sources.values()
        return [await self._stack.enter_async_context(spec.open(root)) for spec in specs]

    async def policies(self) -> Sequence[Policy]:
        specs = self._registry.policies.values()
        return [await self._stack.enter_async_context(spec.open()) for spec in specs]

    async def sandbox(
        self, wanted: str, plans: Iterable[AgentPlan], *, reacts: bool = False
    ) -> Sandbox | None:
        """What holds the programs of a run; None where no agent starts any and nothing `reacts`.

        Raises:
            UsageError: the one that was chosen is not there, or does not work here.
        """
        if not reacts and not any(starts_programs(plan) for plan in plans):
            return None
        return await open_sandbox(wanted, self._registry.sandboxes, self._stack)

    async def host(self, name: str, root: Path) -> AgentHost:
        """Who starts processes for agents."""
        return await self._stack.enter_async_context(self._registry.hosts[name].open(root))

    async def admission(self, settings: Settings, models: Iterable[Model]) -> Admission | None:
        """What says when local models may be loaded; None where no model has to wait for that.

        Raises:
            MissingPackage: a server has to be started, and no package does that.
            ConfigError: `[devices] backends` names one that nobody offers.
        """
        tables, spec = settings.tables.get("models", {}), self._registry.admission
        for provider in dict.fromkeys(model.info.provider for model in models):
            local = tables.get(provider, {}).get("local")
            if not isinstance(local, Mapping) or "start" not in local:
                continue
            if spec is None:
                raise MissingPackage(
                    f"[models.{provider}]: starting its server", "sashizu-gpu-driver"
                )
            devices = chosen(self._registry.devices, settings.devices.backends)
            return await self._stack.enter_async_context(spec.open(tuple(devices)))
        return None

    async def ledger(
        self, limits: Limits, plans: Iterable[AgentPlan], models: Mapping[str, Model]
    ) -> tuple[Budget, BudgetNode] | None:
        """The ledger and the run's node; None where no package provides one.

        Raises:
            UsageError: a limit in USD meets a model without a price, or limits that are not the
                run's own leave room for no call at all.
        """
        if self._registry.budget is None:
            return None
        budget = await self._stack.enter_async_context(self._registry.budget.open())
        root = budget.root("run", limits)
        limited = root.limited("nusd")
        for plan in plans:
            require_prices(budget, plan, models, limited=limited)
        _require_room(budget, root, [models[plan.model].info for plan in plans])
        return budget, root


def _require_room(budget: Budget, root: BudgetNode, models: Sequence[ModelInfo]) -> None:
    """Refuse what cannot begin: not even the smallest call of any of its models fits.

    Only for limits that others share: how far its own limits reach is a run's own affair.

    Raises:
        UsageError: nothing fits; says what is left and how the limit is changed.
    """
    refused: Refused | None = None
    least = [
        Bound(0, info.min_output_tokens if info.bills_tokens else 0, "least") for info in models
    ]
    smallest = [budget.quote(info, bound) for info, bound in zip(models, least, strict=True)]
    for amount in smallest or [Amount(tokens=1, requests=1)]:  # of programs it is not known
        answer = root.reserve(amount)
        if not isinstance(answer, Busy | Refused):
            answer.release()
        if not isinstance(answer, Refused) or not answer.remedy:
            return
        refused = answer
    if refused is not None:
        raise UsageError(f"nothing was started: {refusal(refused)}")


def require_prices(
    budget: Budget, plan: AgentPlan, models: Mapping[str, Model], *, limited: bool
) -> None:
    """Refuse models without a price where USD are `limited`, or the plan limits them.

    Raises:
        UsageError: the limit could not be kept.
    """
    if not limited and plan.limits.nusd is None:
        return
    for name in plan.models:
        if budget.price_of(models[name].info) is None:
            raise UsageError(
                f"no price is known for {name!r}, so a limit in USD cannot be kept: "
                "give one in the settings (`sashizu budget prices` shows the list), "
                "or limit tokens instead"
            )


def run_context(run_id: RunId, root: Path, traceparent: str | None = None) -> dict[str, object]:
    """The columns that every event of a run carries; goes on with the caller's trace, if any."""
    told = os.environ.get("TRACEPARENT", "") if traceparent is None else traceparent
    trace, parent = span_of(told)
    return {
        "project": root.name,
        "actor": f"user:{_user()}",
        "run_id": run_id,
        "trace_id": trace or trace_id(),
        "span_id": span_id(),
        "parent_span_id": parent,
    }


def span_of(text: str) -> tuple[str | None, str | None]:
    """Trace id and parent span id of a W3C `traceparent`, or nothing if it is not valid."""
    parts = text.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None, None
    if not set("".join(parts[:4])) <= set("0123456789abcdef"):
        return None, None
    if not (int(parts[1], 16) and int(parts[2], 16)):
        return None, None
    return parts[1], parts[2]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
