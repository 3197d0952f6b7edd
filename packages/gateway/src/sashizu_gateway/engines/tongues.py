"""How each program is started, and how it speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from sashizu_core.types import Usage

from sashizu_gateway.dialects.found import anthropic_usage, openai_usage
from sashizu_gateway.engines.listening import Listener
from sashizu_gateway.pointing import codex_flags

__all__ = ["TONGUES", "Tongue"]

_CODEX_CONFIG = """\
check_for_update_on_startup = false

[analytics]
enabled = false
"""


class Tongue(ABC):
    """One kind of program. `finds` is its own name, empty where the definition names it."""

    name: str
    finds: str

    @abstractmethod
    def words(self, model: str, base_url: str, folder: Path) -> Sequence[str]:
        """What follows the program's own words; `model` is empty for its default."""

    def environment(self, home: Path) -> Mapping[str, str]:  # noqa: ARG002 - most have none
        """Variables of its own; `home` is a private folder."""
        return {}

    def prepare(self, home: Path) -> None:  # noqa: B027 - most need nothing
        """Put into its private folder what it reads from there."""

    def told(self, instructions: str, task: str, facts: Mapping[str, Any]) -> bytes:  # noqa: ARG002
        """What it reads from its standard input."""
        return f"{instructions}\n\n{task}\n".encode("utf-8", "replace")

    @abstractmethod
    def take(self, event: Mapping[str, Any], listener: Listener) -> None:
        """Understand one line that it says."""


# --- Codex ----------------------------------------------------------------------------------------


class Codex(Tongue):
    """`codex exec --json`; its own sandbox is off, because ours encloses it."""

    name = finds = "codex"

    def words(self, model: str, base_url: str, folder: Path) -> Sequence[str]:
        chosen = ("-m", model) if model else ()
        return (
            *codex_flags(base_url),
            *("-c", 'approval_policy="never"', "-c", 'sandbox_mode="danger-full-access"'),
            *("exec", "--json", "--ephemeral", "--skip-git-repo-check", "-C", str(folder)),
            *(*chosen, "-"),
        )

    def environment(self, home: Path) -> Mapping[str, str]:
        return {"CODEX_HOME": str(home / "codex")}

    def prepare(self, home: Path) -> None:
        (home / "codex").mkdir(mode=0o700)
        (home / "codex" / "config.toml").write_text(_CODEX_CONFIG, "utf-8")

    def take(self, event: Mapping[str, Any], listener: Listener) -> None:
        item = event.get("item")
        match event.get("type"):
            case "item.started" if isinstance(item, dict):
                self._item(item, "begun", listener)
            case "item.completed" if isinstance(item, dict):
                self._item(item, "error" if _went_wrong(item) else "ok", listener)
            case "turn.completed":
                listener.used(_codex_usage(event.get("usage")))
                listener.recovered()  # it complains of every attempt that it makes again
            case "turn.failed":
                error = event.get("error")
                listener.failed(error.get("message") if isinstance(error, dict) else error)
            case "error":
                listener.failed(event.get("message"))

    def _item(
        self, item: Mapping[str, Any], state: Literal["begun", "ok", "error"], listener: Listener
    ) -> None:
        kind = str(item.get("type") or "")
        if kind == "agent_message":
            if state != "begun":
                listener.said(item.get("text"))
            return
        if kind in ("", "reasoning", "todo_list", "error"):
            return
        about = {
            name: item[name]
            for name in ("command", "server", "tool", "query", "exit_code", "status")
            if item.get(name) is not None
        }
        if isinstance(changes := item.get("changes"), list):
            about["paths"] = [
                str(change.get("path")) for change in changes if isinstance(change, dict)
            ]
        listener.tool(kind, str(item.get("id") or ""), state, about)


def _went_wrong(item: Mapping[str, Any]) -> bool:
    return item.get("status") in ("failed", "declined") or item.get("exit_code") not in (None, 0)


def _codex_usage(raw: Any) -> Usage | None:
    if not isinstance(raw, dict):
        return None
    details = {"cached_tokens": raw.get("cached_input_tokens")}
    thought = {"reasoning_tokens": raw.get("reasoning_output_tokens")}
    return openai_usage({**raw, "input_tokens_details": details, "output_tokens_details": thought})


# --- Claude Code ----------------------------------------------------------------------------------


class Claude(Tongue):
    """Claude Code in its print mode; it asks nobody, because the sandbox holds it."""

    name = finds = "claude"

    def words(self, model: str, base_url: str, folder: Path) -> Sequence[str]:  # noqa: ARG002
        chosen = ("--model", model) if model else ()
        return (
            *("-p", "--output-format", "stream-json", "--verbose"),
            *("--permission-mode", "bypassPermissions", *chosen),
        )

    def environment(self, home: Path) -> Mapping[str, str]:
        return {
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
        }

    def prepare(self, home: Path) -> None:
        (home / "claude").mkdir(mode=0o700)

    def take(self, event: Mapping[str, Any], listener: Listener) -> None:
        match event.get("type"):
            case "assistant":
                for part in _parts(event):
                    if part.get("type") == "text":
                        listener.said(part.get("text"))
                    elif part.get("type") == "tool_use":
                        listener.tool(
                            str(part.get("name")), str(part.get("id")), "begun", _input_of(part)
                        )
            case "user":
                for part in _parts(event):
                    if part.get("type") == "tool_result":
                        state: Literal["ok", "error"] = "error" if part.get("is_error") else "ok"
                        listener.tool("tool", str(part.get("tool_use_id")), state, {})
            case "result":
                listener.used(anthropic_usage(event.get("usage")))
                if event.get("is_error") or event.get("subtype") not in (None, "success"):
                    listener.failed(event.get("result") or event.get("subtype"))
                else:
                    listener.said(event.get("result"))


def _parts(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return []
    return [part for part in content if isinstance(part, dict)]


def _input_of(part: Mapping[str, Any]) -> Mapping[str, Any]:
    found = part.get("input")
    return found if isinstance(found, dict) else {}


# --- any command ----------------------------------------------------------------------------------


class Command(Tongue):
    """Any program that reads one line of JSON and writes lines of JSON."""

    name = "command"
    finds = ""

    def words(self, model: str, base_url: str, folder: Path) -> Sequence[str]:  # noqa: ARG002
        return ()

    def told(self, instructions: str, task: str, facts: Mapping[str, Any]) -> bytes:
        told = {"instructions": instructions, "task": task, **facts}
        return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)

    def take(self, event: Mapping[str, Any], listener: Listener) -> None:
        match event.get("type"):
            case "message" | "result":
                listener.said(event.get("text"))
                listener.used(openai_usage(event.get("usage")))
            case "tool.started":
                listener.tool(_name(event), str(event.get("id") or ""), "begun", _about(event))
            case "tool.ended":
                state: Literal["ok", "error"] = "ok" if event.get("ok", True) else "error"
                listener.tool(_name(event), str(event.get("id") or ""), state, _about(event))
            case "error":
                listener.failed(event.get("message"))


def _name(event: Mapping[str, Any]) -> str:
    return str(event.get("name") or "tool")


def _about(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found = event.get("about")
    return found if isinstance(found, dict) else {"about": str(found or "")}


TONGUES: Mapping[str, Tongue] = {each.name: each for each in (Codex(), Claude(), Command())}
"""The kinds of program by the name that a definition gives as its `engine`."""
