"""What the methods take. What is not known is ignored, as these clients expect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AddListener",
    "ConversationRef",
    "Initialize",
    "Item",
    "NewConversation",
    "RemoveListener",
    "SendUserMessage",
]

Id = Annotated[str, Field(min_length=1, max_length=100)]


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Client(_Params):
    name: str
    version: str


class Initialize(_Params):
    clientInfo: _Client  # noqa: N815 - as it is written on the wire


class NewConversation(_Params):
    model: str | None = None
    cwd: str | None = None
    approvalPolicy: Literal["untrusted", "on-failure", "on-request", "never"] | None = None  # noqa: N815
    sandbox: Literal["read-only", "workspace-write", "danger-full-access"] | None = None


class ConversationRef(_Params):
    conversationId: Id  # noqa: N815


class Item(_Params):
    type: str
    data: dict[str, Any]


class SendUserMessage(ConversationRef):
    items: tuple[Item, ...]


class AddListener(ConversationRef):
    pass


class RemoveListener(_Params):
    subscriptionId: Id  # noqa: N815
