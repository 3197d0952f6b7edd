"""One conversation of an editor: where it works, what it may use, and what is at work in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
from acp.interfaces import Client
from sashizu_core import delegate_parallel
from sashizu_core.agents import AgentDefinition, load_catalogue
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.home import state_home
from sashizu_core.plugins import Registry, open_registry
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.conversation import Conversation, load_conversation, save_conversation
from sashizu_core.runtime.redacting import run_redactor
from sashizu_core.settings import Settings, load_settings
from sashizu_core.trust import TrustStore
from sashizu_core.types import AgentReport, Limits, Message, Outcome, RunReport, Task, Usage

from sashizu_mcp_server.acp.asking import EditorApprover
from sashizu_mcp_server.acp.blocks import read_blocks
from sashizu_mcp_server.acp.telling import Teller

__all__ = ["EditorOptions", "EditorSession", "Ended", "kept_session", "new_session"]

StopReason = Literal["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"]

_STOPS: Mapping[Outcome, StopReason] = {
    Outcome.BUDGET: "max_tokens",
    Outcome.TRUNCATED: "max_tokens",
    Outcome.TURN_LIMIT: "max_turn_requests",
    Outcome.DEADLINE: "max_turn_requests",
    Outcome.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class EditorOptions:
    """What the command line says for all sessions; `budget` bounds every prompt."""

    agent: str = "general"
    model: str | None = None
    budget: Limits | None = None
    audit: bool = True
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a prompt ended, and the run that it was."""

    reason: StopReason
    run_id: str
    tokens: int


@dataclass
class EditorSession:
    """One conversation. `messages` are those it had when it was opened."""

    session_id: str
    root: Path
    definition: AgentDefinition
    settings: Settings
    registry: Registry
    redactor: Redactor
    options: EditorOptions
    conversation_id: str = ""
    messages: tuple[Message, ...] = ()
    done: anyio.Event = field(default_factory=anyio.Event)
    _handle: RunHandle | None = None
    _at_work: bool = False
    _cancelled: bool = False

    @property
    def at_work(self) -> bool:
        return self._at_work

    def cancel(self, reason: str) -> None:
        """End the prompt at work, if there is one; it ends with a report."""
        self._cancelled = self._at_work
        if self._handle is not None:
            self._handle.cancel(reason)

    async def prompt(self, client: Client, blocks: Sequence[Any]) -> Ended:
        """Run one prompt to its end, telling the editor all the while.

        Raises:
            UsageError: another prompt is at work, or this one cannot be meant.
            SashizuError: nothing could be run, or the model failed.
        """
        if self._at_work:
            raise UsageError("another prompt of this session is at work: wait, or cancel it")
        asked = read_blocks(blocks, self.root)
        self._at_work, self._cancelled, self.done = True, False, anyio.Event()
        try:
            await self._begin()
            task = Task(self.definition.name, asked.text, scope=asked.scope)
            report = await self._told(client, task)
        finally:
            self._at_work, self._handle = False, None
            self.done.set()
        return self._ended(report)

    async def _begin(self) -> None:
        """Keep the conversation before its first prompt, so that it has its id from then on."""
        if self.conversation_id:
            return
        model = self.options.model or self.definition.model or self.settings.run.model
        empty = Conversation(self.session_id, self.definition.name, model, (), Usage(requests=0))
        await anyio.to_thread.run_sync(save_conversation, state_home(), empty)
        self.conversation_id = self.session_id

    async def _told(self, client: Client, task: Task) -> RunReport:
        """Run a task, and pass on what it tells in order, the last word included."""
        send, receive = anyio.create_memory_object_stream[Any](math.inf)
        teller = Teller(send.send_nowait, self.root, self.definition.success_criteria)
        report: RunReport | None = None
        failed: SashizuError | None = None

        async def pass_on() -> None:
            async with receive:
                async for update in receive:
                    try:
                        await client.session_update(session_id=self.session_id, update=update)
                    except ConnectionError:
                        self.cancel("the editor is gone")

        async with anyio.create_task_group() as group:
            group.start_soon(pass_on)
            try:
                report = await self._run(client, task, teller)
                for warning in report.warnings:
                    teller.warn(warning)
                teller.conclude(report.results[0])
            except SashizuError as error:
                failed = error  # raised below, out of the group
            finally:
                send.close()
        if report is None:
            raise failed if failed is not None else UsageError("the prompt was not run")
        return report

    async def _run(self, client: Client, task: Task, teller: Teller) -> RunReport:
        report = await delegate_parallel(
            [task],
            workspace=self.root,
            budget=self.options.budget,
            model=self.options.model,
            audit=self.options.audit,
            sinks=[teller],
            approver=EditorApprover(client, self.session_id, self.redactor),
            on_text=teller.hear,
            on_start=self._attach,
            continue_conversation=self.conversation_id,
            settings=self.settings,
            registry=self.registry,
        )
        self.conversation_id = report.results[0].conversation_id or self.conversation_id
        return report

    def _attach(self, handle: RunHandle) -> None:
        self._handle = handle
        if self._cancelled:
            handle.cancel("cancelled in the editor")

    def _ended(self, report: RunReport) -> Ended:
        result: AgentReport = report.results[0]
        if result.outcome is Outcome.MODEL_FAILED and not result.error.startswith("content_filter"):
            raise SashizuError(result.error)
        refused = result.outcome is Outcome.MODEL_FAILED
        reason = "refusal" if refused else _STOPS.get(result.outcome, "end_turn")
        return Ended(reason, report.run_id, report.usage.tokens)


def new_session(cwd: str, options: EditorOptions) -> EditorSession:
    """A conversation that has not begun. Reads files.

    Raises:
        UsageError: the folder is none, or there is no such agent.
        TrustNeeded: the agent comes from the folder, and nobody has trusted its file.
        ConfigError: settings are wrong.
    """
    root = Path(cwd)
    if not root.is_absolute() or not root.is_dir():
        raise UsageError(f"a session needs the absolute path of a folder, not {cwd!r}")
    settings = load_settings(root, overrides=options.overrides)
    registry = open_registry(settings)
    catalogue = load_catalogue(registry.agents.values(), workspace=root)
    entry = catalogue.entry(options.agent)
    TrustStore().require(root, [entry])
    return EditorSession(
        Conversation.new_id(),
        root,
        entry.definition,
        settings,
        registry,
        run_redactor(settings, registry),
        options,
    )


def kept_session(cwd: str, session_id: str, options: EditorOptions) -> EditorSession:
    """A conversation that was kept, by this command or by `sashizu run`. Reads files.

    Raises:
        UsageError: there is none of that id, or the folder is none.
        TrustNeeded: its agent comes from the folder, and nobody has trusted its file.
        ConfigError: settings are wrong.
    """
    kept = load_conversation(state_home(), session_id)
    session = new_session(cwd, replace(options, agent=kept.agent))
    session.session_id = session.conversation_id = kept.id
    session.messages = kept.messages
    return session
