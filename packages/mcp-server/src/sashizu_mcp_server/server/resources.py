"""Runs, agents and artifacts as resources, and prompts that begin with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.grants import Subject
from sashizu_core.permissions import readable
from sashizu_core.workspace import Workspace

from sashizu_mcp_server.server.workbench import CLIENT, grants_of

if TYPE_CHECKING:
    from sashizu_mcp_server.server.service import Service

__all__ = ["PROMPTS", "TEMPLATES", "Text", "listed_resources", "prompt_text", "read_resource"]

JSON_TYPE = "application/json"
MOST_ARTIFACT_BYTES = 16 * 1024 * 1024

TEMPLATES: tuple[Mapping[str, str], ...] = (
    {
        "name": "run",
        "uriTemplate": "run://{run_id}",
        "description": "A run that this server started: state, and reports once it has ended.",
        "mimeType": JSON_TYPE,
    },
    {
        "name": "agent",
        "uriTemplate": "agent://{name}",
        "description": "An agent's definition.",
        "mimeType": JSON_TYPE,
    },
    {
        "name": "artifact",
        "uriTemplate": "artifact://{run_id}/{agent_id}/{index}",
        "description": "A file that an agent produced and that was verified.",
        "mimeType": "text/plain",
    },
)

PROMPTS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "review",
        "title": "Review with several agents",
        "description": "Have code and security reviewed at once.",
        "arguments": [
            {"name": "scope", "description": "Paths, separated by commas.", "required": False},
            {"name": "budget", "description": "Tokens, such as 60000.", "required": False},
        ],
    },
    {
        "name": "delegate",
        "title": "Delegate a task",
        "description": "Have one agent do something.",
        "arguments": [
            {"name": "agent", "description": "The agent's name.", "required": True},
            {"name": "goal", "description": "What it should do.", "required": True},
        ],
    },
)


class Text:
    """The content of a resource."""

    __slots__ = ("mime", "text")

    def __init__(self, text: str, mime: str) -> None:
        self.text = text
        self.mime = mime


def listed_resources(service: Service) -> Iterator[Mapping[str, Any]]:
    """All resources there are now. Reads agents' files."""
    for run in service.runs:
        yield {
            "uri": f"run://{run.run_id}",
            "name": f"run {', '.join(run.agents)[:100]}",
            "description": run.status,
            "mimeType": JSON_TYPE,
        }
        for result in run.reported().results:
            for made in result.artifacts:
                about = {"uri": made.uri, "name": made.path, "description": f"by {result.agent}"}
                yield {**about, "mimeType": "text/plain", "size": made.bytes}
    for entry in service.catalogue():
        goal = " ".join(entry.definition.goal.split())[:400]
        about = {"uri": f"agent://{entry.name}", "name": entry.name, "description": goal}
        yield {**about, "mimeType": JSON_TYPE}


async def read_resource(service: Service, uri: str) -> Text:
    """The content of one resource.

    Raises:
        UsageError: there is none of that URI.
        SashizuError: it cannot be read.
    """
    scheme, _, rest = uri.partition("://")
    match scheme:
        case "run":
            return _json(service.runs.get(rest.strip("/")).reported().model_dump(mode="json"))
        case "agent":
            return await anyio.to_thread.run_sync(_agent, service, rest)
        case "artifact":
            return await anyio.to_thread.run_sync(_artifact, service, rest)
        case _:
            raise UsageError(f"there is no resource {uri!r}; schemes: run, agent, artifact")


def _agent(service: Service, name: str) -> Text:
    definition = service.catalogue().get(name)
    return _json(definition.model_dump(mode="json", exclude_defaults=True))


def _artifact(service: Service, rest: str) -> Text:
    run_id, _, place = rest.partition("/")
    agent_id, _, index = place.partition("/")
    for result in service.runs.get(run_id).reported().results:
        made = result.artifacts
        if result.agent_id == agent_id and index.isdecimal() and int(index) < len(made):
            return _content(service, made[int(index)].path)
    raise UsageError(f"there is no artifact {rest!r}")


def _content(service: Service, path: str) -> Text:
    """The file, if the server's ceiling lets it be read."""
    subject = Subject("", CLIENT, (grants_of(service.policy),))
    with Workspace.open(service.root) as workspace:
        if not readable(subject)(path):
            raise SashizuError(f"this server does not let {path!r} be read")
        data = workspace.read_bytes(path, MOST_ARTIFACT_BYTES)
    return Text(service.redactor.text(data.decode("utf-8", "replace")), "text/plain")


def _json(value: Any) -> Text:
    return Text(json.dumps(value, indent=1, default=str, ensure_ascii=False), JSON_TYPE)


def prompt_text(name: str, arguments: Mapping[str, str]) -> str:
    """A prompt, filled.

    Raises:
        UsageError: there is none of that name, or an argument is missing.
    """
    found = next((prompt for prompt in PROMPTS if prompt["name"] == name), None)
    if found is None:
        known = ", ".join(str(prompt["name"]) for prompt in PROMPTS)
        raise UsageError(f"there is no prompt {name!r}; known: {known}")
    for argument in found["arguments"]:
        if argument["required"] and not arguments.get(argument["name"]):
            raise UsageError(f"the prompt {name!r} needs {argument['name']!r}")
    if name == "delegate":
        task = {"agent": arguments["agent"], "goal": arguments["goal"]}
        return f"Call the tool `delegate` with {json.dumps(task)}, then summarise its report."
    scope = [part.strip() for part in arguments.get("scope", "").split(",") if part.strip()]
    tasks: dict[str, Any] = {
        "tasks": [{"agent": "code-reviewer"}, {"agent": "sec-audit"}],
        "scope": scope or ["."],
    }
    if arguments.get("budget"):
        tasks["budget"] = [arguments["budget"]]
    return (
        f"Call the tool `delegate_parallel` with {json.dumps(tasks)}, then list all findings by "
        "severity with file and line, each once."
    )
