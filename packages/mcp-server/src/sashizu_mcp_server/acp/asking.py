"""Questions of agents, answered in the editor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from acp.helpers import text_block, tool_content
from acp.interfaces import Client
from acp.schema import AllowedOutcome, PermissionOption, ToolCallUpdate
from sashizu_core.approvals import described
from sashizu_core.protocols import Approval, Question
from sashizu_core.redaction import Redactor
from sashizu_core.skills.skill import visible_text

from sashizu_mcp_server.acp.telling import arguments_of, call_id, kind_of, title_of

__all__ = ["EditorApprover"]

_OPTIONS = (
    PermissionOption(option_id="once", name="Allow once", kind="allow_once"),
    PermissionOption(option_id="run", name="Allow the same for this prompt", kind="allow_always"),
    PermissionOption(option_id="deny", name="Refuse", kind="reject_once"),
)
_ANSWERS: Mapping[str, Literal["deny", "once", "run"]] = {
    "once": "once",
    "run": "run",
    "deny": "deny",
}


class EditorApprover:
    """Asks the person at the editor; whatever is no answer refuses."""

    def __init__(self, client: Client, session_id: str, redactor: Redactor) -> None:
        self._client = client
        self._session_id = session_id
        self._redactor = redactor

    async def ask(self, question: Question) -> Approval:
        lines = [f"{label}: {text}" for label, text in described(question)]
        shown = visible_text(self._redactor.text("\n".join(lines)))
        arguments = arguments_of(question.arguments)
        response = await self._client.request_permission(
            session_id=self._session_id,
            tool_call=ToolCallUpdate(
                tool_call_id=call_id(question.agent_id, question.tool_call_id or question.id),
                title=title_of(question.tool, arguments),
                raw_input=arguments or None,
                kind=kind_of(question.tool),
                status="pending",
                content=[tool_content(text_block(shown))],
            ),
            options=list(_OPTIONS),
        )
        outcome = response.outcome
        if not isinstance(outcome, AllowedOutcome):
            return Approval("deny", "the prompt was cancelled", by="editor")
        return Approval(_ANSWERS.get(outcome.option_id, "deny"), by="editor")
