"""Answers first requests from what is prepared, and keeps what the whole program must still see."""

from sashizu_mcp_server.startup.jsontext import json_string
from sashizu_mcp_server.startup.prepared import MODERN, Prepared

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FirstAnswers", "modern_envelope", "reply"]

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"


def reply(request_id: "str | int", result: str) -> bytes:
    """A response as one line; `result` is JSON text."""
    shown = json_string(request_id) if isinstance(request_id, str) else str(request_id)
    return f'{{"jsonrpc":"2.0","id":{shown},"result":{result}}}\n'.encode()


def modern_envelope(params: "Any") -> "bool | None":
    """Whether a request carries a whole envelope of the newest era; None for half of one."""
    meta = params.get("_meta") if type(params) is dict else None
    if type(meta) is not dict or VERSION_KEY not in meta:
        return False
    client = meta.get(CLIENT_KEY)
    whole = (
        meta[VERSION_KEY] == MODERN
        and _are_capabilities(meta.get(CAPABILITIES_KEY))
        and (client is None or _is_client(client))
    )
    return True if whole else None


def _is_client(value: "Any") -> bool:
    return (
        type(value) is dict
        and {"name", "version"} <= set(value) <= {"name", "version", "title", "description"}
        and all(type(text) is str for text in value.values())
    )


def _are_capabilities(value: "Any") -> bool:
    """Whether this can be nothing but capabilities: objects of objects and flags."""
    return type(value) is dict and all(
        type(part) is dict and all(type(flag) in (dict, bool) for flag in part.values())
        for part in value.values()
    )


class FirstAnswers:
    """One connection, as far as prepared answers go.

    `initialize` is the client's handshake once it was answered, `version` what was agreed on;
    `initialized` are the notifications that came, for who goes on. Frames are answered only where
    the whole program could not answer otherwise; None leaves them to it.
    """

    __slots__ = ("initialize", "modern", "notes", "prepared", "version")

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.initialize: dict[str, Any] | None = None
        self.version = ""
        self.modern = False
        self.notes: list[dict[str, Any]] = []

    def answer(self, frame: "Any") -> "bytes | None":
        """The bytes that answer a frame, none for a notification; None if it is not for here."""
        if type(frame) is not dict or frame.get("jsonrpc") != "2.0":
            return None
        method = frame.get("method")
        request_id: Any = frame.get("id")
        if type(method) is not str:
            return None
        if "id" not in frame:
            return self._noted(frame, method)
        if type(request_id) not in (int, str) or not set(frame) <= _MEMBERS:
            return None
        result = self._result(method, frame)
        return None if result is None else reply(request_id, result)

    def handshake_answer(self) -> bytes:
        """How the client's handshake was answered; empty if there was none."""
        if self.initialize is None:
            return b""
        return reply(self.initialize["id"], self.prepared.results["initialize"][self.version])

    def _noted(self, frame: "dict[str, Any]", method: str) -> "bytes | None":
        if method != "notifications/initialized" or self.initialize is None:
            return None
        self.notes.append(frame)
        return b""

    def _result(self, method: str, frame: "dict[str, Any]") -> "str | None":
        params: Any = frame.get("params")
        if method == "initialize":
            return self._agreed(frame, params)
        enveloped = modern_envelope(params)
        if enveloped is None or (enveloped and self.initialize is not None):
            return None
        if enveloped:
            if set(params) != {"_meta"}:
                return None
            found = self.prepared.results.get(method, {}).get(MODERN)
            self.modern = self.modern or found is not None
            return found
        if self.initialize is None or not _plain(params):
            return None
        if method == "ping":
            return "{}"
        return self.prepared.results.get(method, {}).get(self.version)

    def _agreed(self, frame: "dict[str, Any]", params: "Any") -> "str | None":
        """The answer to a handshake whose form is beyond doubt."""
        if self.initialize is not None or self.modern or type(params) is not dict:
            return None
        asked, client = params.get("protocolVersion"), params.get("clientInfo")
        if type(asked) is not str or not _are_capabilities(params.get("capabilities")):
            return None
        if not _is_client(client) or not set(params) <= _HANDSHAKE or "_meta" in params:
            return None
        known = self.prepared.results["initialize"]
        self.version = asked if asked in known else self.prepared.latest
        self.initialize = frame
        return known[self.version]


_MEMBERS = {"jsonrpc", "id", "method", "params"}
_HANDSHAKE = {"protocolVersion", "capabilities", "clientInfo"}


def _plain(params: "Any") -> bool:
    """Whether params say nothing but, at most, where to report progress."""
    if params is None:
        return True
    if type(params) is not dict or not set(params) <= {"_meta"}:
        return False
    meta = params.get("_meta", {})
    return type(meta) is dict
