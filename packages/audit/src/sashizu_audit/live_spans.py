"""Makes spans of events as they come: each when what it tells of has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from sashizu_core.events import Event

from sashizu_audit.otlp_spans import (
    Row,
    Span,
    above_span_id,
    agent_span,
    agent_span_id,
    call_span,
    run_span,
)
from sashizu_audit.otlp_spans import run_span_id as root_id

__all__ = ["Ended", "LiveSpans"]

Ended = tuple[Row, Span]
"""A span that has ended, and the columns of its run."""

_ENDS = {"model.answered": "model.requested", "model.failed": "model.requested"}
_ENDS |= {"tool.ended": "tool.requested"}
_RUN = ("run_id", "project", "actor", "trace_id", "span_id", "parent_span_id")
_MOST_OPEN = 100_000
"""So many calls and agents at most are remembered; of the oldest nothing is told."""

_Key = tuple[object, ...]


class LiveSpans:
    """Follows the runs of one process; what they take from the record of another is left out.

    `text` gives the text with a digest, where texts are to be told. Not safe for threads.
    """

    def __init__(self, text: Callable[[str], str | None] | None = None) -> None:
        self._text = text
        self._open: dict[_Key, dict[str, Any]] = {}
        self._calls: dict[_Key, dict[_Key, dict[str, Any]]] = {}
        self._numbers: dict[_Key, Counter[_Key]] = {}

    def take(self, event: Event, now_ns: int) -> Iterable[Ended]:
        """Hear of an event that was written at `now_ns` (UTC); returns the spans that it ends."""
        kind, fields = event.kind, event.fields
        if fields.get("replay_of") is not None and kind != "agent.started":
            self._forget(kind, fields)  # it was told of when it happened
        elif kind in ("model.requested", "tool.requested"):
            self._begin_call(kind, fields, now_ns)
        elif kind == "tool.decided":
            self._decide(fields)
        elif kind in _ENDS:
            return self._end_call(_ENDS[kind], fields)
        elif kind in ("agent.started", "run.started"):
            self._begin(_subject(kind, fields), fields, now_ns)
        elif kind == "agent.ended":
            return self._end_agent(_subject(kind, fields), fields)
        elif kind == "run.ended":
            return self._end_run(_subject(kind, fields), fields)
        return ()

    def end_all(self) -> Iterable[Ended]:
        """What has not ended: nobody will hear more of it."""
        calls = [ended for agent in list(self._calls) for ended in self._end_calls(agent)]
        return [*calls, *(ended for key in list(self._open) for ended in self._close(key, {}))]

    # --- beginnings -------------------------------------------------------------------------------

    def _begin(self, key: _Key, fields: Mapping[str, Any], now_ns: int) -> None:
        if len(self._open) >= _MOST_OPEN:
            self._open.pop(next(iter(self._open)))
        self._open[key] = {**fields, "begun": now_ns, "status": "unfinished"}

    def _begin_call(self, kind: str, fields: Mapping[str, Any], now_ns: int) -> None:
        agent, call = _agent_of(fields), (kind, fields.get("step"))
        numbers = self._numbers.setdefault(agent, Counter())
        calls = self._calls.setdefault(agent, {})
        if len(calls) < _MOST_OPEN:
            asked = {"kind": kind, "number": numbers[call], "asked": fields.get("blobs")}
            calls[*call, numbers[call]] = {
                **fields, "begun": now_ns, "status": "no result", **asked
            }  # fmt: skip
        numbers[call] += 1

    def _decide(self, fields: Mapping[str, Any]) -> None:
        row = self._calls.get(_agent_of(fields), {}).get(self._latest("tool.requested", fields))
        if row is not None:
            row |= {n: fields.get(n) for n in ("decision", "decided_by", "decision_rule")}
            if row["decision"] == "deny":
                row["status"] = "denied"

    # --- ends -------------------------------------------------------------------------------------

    def _forget(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Tell nothing of an agent that only repeated, nor of one that a replay left open."""
        if kind == "agent.ended":
            self._open.pop(_subject(kind, fields), None)
        elif kind == "run.ended":
            run_id = fields.get("run_id")
            self._open = {key: row for key, row in self._open.items() if key[1] != run_id}

    def _latest(self, kind: str, fields: Mapping[str, Any]) -> _Key:
        """The newest call of this step."""
        call = kind, fields.get("step")
        return *call, self._numbers.get(_agent_of(fields), Counter())[call] - 1

    def _end_call(self, kind: str, fields: Mapping[str, Any]) -> Iterable[Ended]:
        row = self._calls.get(_agent_of(fields), {}).pop(self._latest(kind, fields), None)
        return (self._call(row, fields),) if row is not None else ()

    def _end_calls(self, agent: _Key) -> list[Ended]:
        self._numbers.pop(agent, None)
        return [self._call(row, {}) for row in self._calls.pop(agent, {}).values()]

    def _end_agent(self, key: _Key, fields: Mapping[str, Any]) -> Iterable[Ended]:
        return [*self._end_calls(key[1:]), *self._close(key, fields)]

    def _end_run(self, key: _Key, fields: Mapping[str, Any]) -> Iterable[Ended]:
        """End a run, and first what is still open beneath it."""
        calls = [agent for agent in self._calls if agent[0] == key[1]]
        agents = [one for one in self._open if one[0] == "agent" and one[1] == key[1]]
        beneath = [ended for agent in calls for ended in self._end_calls(agent)]
        beneath += [ended for one in agents for ended in self._close(one, {})]
        return [*beneath, *self._close(key, fields)]

    def _call(self, row: dict[str, Any], fields: Mapping[str, Any]) -> Ended:
        row |= {
            name: value for name, value in fields.items() if value is not None and name != "kind"
        }
        run = _run_of(row)
        content = self._content(row, fields) if self._text is not None else {}
        above = agent_span_id(row) if row.get("agent_id") else root_id(run)
        return run, call_span(row, above, row["number"], content)

    def _close(self, key: _Key, fields: Mapping[str, Any]) -> Iterable[Ended]:
        row = self._open.pop(key, None)
        if row is None:
            return ()
        row |= {name: value for name, value in fields.items() if value is not None}
        run = _run_of(row)
        if key[0] == "run":
            return ((run, run_span(row)),)
        above = above_span_id(row) or _derived_above(row)
        return ((run, agent_span(row, above)),)

    # --- texts ------------------------------------------------------------------------------------

    def _content(self, row: Row, ended: Mapping[str, Any]) -> Mapping[str, str]:
        """The attributes with texts of a call; none where they were not kept."""
        asked, told = self._texts(row.get("asked")), self._texts(ended.get("blobs"))
        if row["kind"] == "tool.requested":
            found = {"gen_ai.tool.call.arguments": asked[:1], "gen_ai.tool.call.result": told[:1]}
            return {name: texts[0] for name, texts in found.items() if texts}
        parts = [{"type": "text", "content": text} for text in asked]
        content = {}
        if parts:
            content["gen_ai.input.messages"] = _json([{"role": "user", "parts": parts}])
        if told:
            answer = {"role": "assistant", "parts": _answer_parts(told[0])}
            content["gen_ai.output.messages"] = _json([answer])
        return content

    def _texts(self, digests: object) -> list[str]:
        if self._text is None or not isinstance(digests, list):
            return []
        return [text for digest in digests if (text := self._text(str(digest))) is not None]


def _derived_above(row: Row) -> str:
    """The span of what an agent is beneath, where the record has no id of it."""
    above = row.get("parent_agent_id")
    return agent_span_id({"agent_id": above}) if above else root_id({"run_id": row.get("run_id")})


def _run_of(row: Row) -> Row:
    return {name: row.get(name) for name in _RUN}


def _agent_of(fields: Mapping[str, Any]) -> _Key:
    return fields.get("run_id"), fields.get("agent_id")


def _subject(kind: str, fields: Mapping[str, Any]) -> _Key:
    """What an event of a run or an agent is about."""
    if kind.startswith("run."):
        return "run", fields.get("run_id")
    return "agent", *_agent_of(fields)


def _answer_parts(text: str) -> list[dict[str, Any]]:
    """An answer as it is kept, JSON with `content` and `tool_calls`, in the form of messages."""
    try:
        found = orjson.loads(text)
        parts = [{"type": "text", "content": found["content"]}] if found["content"] else []
        for call_id, name, arguments in found["tool_calls"]:
            called = {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
            parts.append(called)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return [{"type": "text", "content": text}]
    return parts


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
