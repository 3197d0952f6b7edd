"""The edge to the protocol's library: our tools, resources and prompts as its low-level server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from sashizu_core.errors import SashizuError, UsageError

import sashizu_mcp_server
from sashizu_mcp_server.server.caller import Answer
from sashizu_mcp_server.server.parked import Asking
from sashizu_mcp_server.server.render import INSTRUCTIONS
from sashizu_mcp_server.server.resources import (
    PROMPTS,
    TEMPLATES,
    listed_resources,
    prompt_text,
    read_resource,
)
from sashizu_mcp_server.server.results import ToolAnswer
from sashizu_mcp_server.server.service import Service

__all__ = ["initialization", "make_server", "tool_result"]

Context = ServerRequestContext[Any, Any]


def make_server(service: Service) -> Server[Any]:
    """The library's server over a service."""
    tools = [types.Tool.model_validate(each, by_name=False) for each in service.definitions]
    prompts = [types.Prompt.model_validate(each, by_name=False) for each in PROMPTS]
    templates = [types.ResourceTemplate.model_validate(each, by_name=False) for each in TEMPLATES]

    async def list_tools(ctx: Context, params: Any) -> types.ListToolsResult:  # noqa: ARG001
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        return await _called(service, SdkCaller(ctx, params), params)

    async def list_resources(ctx: Context, params: Any) -> types.ListResourcesResult:  # noqa: ARG001
        found = [
            types.Resource.model_validate(each, by_name=False) for each in listed_resources(service)
        ]
        return types.ListResourcesResult(resources=found)

    async def list_templates(ctx: Context, params: Any) -> types.ListResourceTemplatesResult:  # noqa: ARG001
        return types.ListResourceTemplatesResult(resource_templates=templates)

    async def read(
        ctx: Context,  # noqa: ARG001 - the library's signature
        params: types.ReadResourceRequestParams,
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        try:
            found = await read_resource(service, uri)
        except SashizuError as error:
            text = service.redactor.text(str(error))
            raise MCPError(code=types.INVALID_PARAMS, message=text, data={"uri": uri}) from None
        content = types.TextResourceContents(uri=uri, mime_type=found.mime, text=found.text)
        return types.ReadResourceResult(contents=[content])

    async def list_prompts(ctx: Context, params: Any) -> types.ListPromptsResult:  # noqa: ARG001
        return types.ListPromptsResult(prompts=prompts)

    async def get_prompt(
        ctx: Context,  # noqa: ARG001 - the library's signature
        params: types.GetPromptRequestParams,
    ) -> types.GetPromptResult:
        try:
            text = prompt_text(params.name, params.arguments or {})
        except SashizuError as error:
            raise MCPError(code=types.INVALID_PARAMS, message=str(error)) from None
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(messages=[message])

    return Server(
        "sashizu",
        version=sashizu_mcp_server.__version__,
        title="sashizu",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


async def _called(
    service: Service, caller: SdkCaller, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    """What a call comes to, or what the client has to be asked before."""
    try:
        service.tool(params.name)
    except UsageError as error:  # the protocol's own error, not one of a tool
        raise MCPError(code=types.INVALID_PARAMS, message=str(error)) from None
    arguments = params.arguments or {}
    found: ToolAnswer | Asking
    if caller.calls_again:
        answers = params.input_responses or {}
        said = {key: each.model_dump(mode="json") for key, each in answers.items()}
        state = params.request_state
        found = await service.call_asking(params.name, arguments, caller, said, state)
    else:
        found = await service.call(params.name, arguments, caller)
        service.answered()
    if isinstance(found, Asking):
        return types.InputRequiredResult.model_validate(input_required(found), by_name=False)
    return types.CallToolResult.model_validate(tool_result(found), by_name=False)


def initialization(server: Server[Any]) -> InitializationOptions:
    """What the handshake tells: tools may change while a client is connected."""
    return server.create_initialization_options(NotificationOptions(tools_changed=True))


def tool_result(answer: ToolAnswer) -> dict[str, Any]:
    """A tool's answer in the words of the protocol."""
    result: dict[str, Any] = {"content": [{"type": "text", "text": answer.text}]}
    if answer.structured is not None:
        result["structuredContent"] = answer.structured
    result["isError"] = answer.is_error
    return result


def input_required(asking: Asking) -> dict[str, Any]:
    """What a client is to ask, in the words of the protocol."""
    return {
        "resultType": "input_required",
        "inputRequests": {
            key: {"method": "elicitation/create", "params": {"mode": "form", **form}}
            for key, form in asking.forms.items()
        },
        "requestState": asking.state,
    }


class SdkCaller:
    """The client behind a request that the library handles."""

    def __init__(self, ctx: Context, params: types.CallToolRequestParams) -> None:
        self._session = ctx.session
        told = params.meta
        self.meta: Mapping[str, Any] = dict(told) if told else {}

    @property
    def can_ask(self) -> bool:
        return self._elicits and self._session.can_send_request

    @property
    def calls_again(self) -> bool:
        """Whether the client is asked by answering its call, after which it calls again."""
        modern = self._session.protocol_version in MODERN_PROTOCOL_VERSIONS
        return self._elicits and modern

    @property
    def _elicits(self) -> bool:
        able = self._session.client_capabilities
        return able is not None and able.elicitation is not None

    async def progress(self, seconds: float, message: str) -> None:
        await self._session.report_progress(seconds, None, message)

    async def ask(self, message: str, form: Mapping[str, Any]) -> Answer:
        try:
            found = await self._session.elicit_form(message, dict(form))
        except MCPError as error:
            raise OSError(str(error)) from error
        return Answer(found.action, dict(found.content or {}))
