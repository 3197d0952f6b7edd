"""Sends spans over OTLP/HTTP from a thread of its own: nobody waits for it, and nothing fails."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import orjson

from sashizu_audit.live_spans import Ended
from sashizu_audit.otlp_spans import traces_data

__all__ = ["Post", "Sender", "Sent", "http_post"]

_BATCH = 512
_EVERY_S = 1.0
_TIMEOUT_S = 10.0
_TRIES = 4
_AGAIN = frozenset({429, 502, 503, 504})
_MOST_ANSWER = 64 * 1024

Post = Callable[[bytes], tuple[int, bytes]]
"""Sends one request; returns the status and the beginning of the body of the answer."""


class Sent:
    """What became of spans: `sent`, `lost`, and why the last ones were lost."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost = 0
        self.reason = ""

    def lose(self, count: int, reason: str) -> None:
        if count:
            self.lost += count
            self.reason = reason


class Sender:
    """Takes spans at once, and sends them in batches; what does not fit `most` is lost and counted.

    `encode` makes the body of a request of `TracesData`.
    """

    def __init__(
        self,
        post: Post,
        encode: Callable[[Mapping[str, Any]], bytes],
        resource: Mapping[str, str],
        most: int,
    ) -> None:
        self.result = Sent()
        self._post = post
        self._encode = encode
        self._resource = resource
        self._most = most
        self._waiting: deque[Ended] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._sending = 0
        self._thread = threading.Thread(target=self._run, name="sashizu-otel", daemon=True)
        self._thread.start()

    def put(self, spans: Sequence[Ended]) -> None:
        """Take spans to be sent. Never waits for the network."""
        with self._changed:
            room = max(0, self._most - len(self._waiting))
            self._waiting.extend(spans[:room])
            self.result.lose(max(0, len(spans) - room), f"more than {self._most} waited to be sent")
            if spans:
                self._changed.notify_all()

    def end(self, seconds: float) -> Sent:
        """Send what is left, for at most so many seconds; what is not sent then is lost. Blocks."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(seconds)
        with self._changed:
            left = len(self._waiting) + self._sending
            self._waiting.clear()
            self._sending = 0
            self.result.lose(left, self.result.reason or f"they were not taken in {seconds:g} s")
            return self.result

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if not self._ending and len(self._waiting) < _BATCH:
                    self._changed.wait_for(self._is_due, _EVERY_S)
                count = min(_BATCH, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                self._sending = len(batch)
            if not batch:
                return
            sent, reason = self._send(batch)
            with self._changed:
                if self._sending:  # else it was given up meanwhile
                    self.result.sent += sent
                    self.result.lose(len(batch) - sent, reason)
                    self._sending = 0

    def _is_due(self) -> bool:
        return self._ending or len(self._waiting) >= _BATCH

    def _send(self, batch: Sequence[Ended]) -> tuple[int, str]:
        """How many of these spans were taken, and why the others were not."""
        try:
            body = self._encode(_request(batch, self._resource))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the thread
            return 0, f"they could not be encoded: {type(error).__name__}"
        reason = ""
        for attempt in range(_TRIES):
            try:
                status, answer = self._post(body)
            except (OSError, HTTPException, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"[:200]
            else:
                if 200 <= status < 300:
                    rejected = _rejected(answer)
                    return len(batch) - min(rejected, len(batch)), "the service rejected them"
                reason = f"the service answered {status}"
                if status not in _AGAIN:
                    break
            self.result.reason = reason
            with self._changed:
                if attempt + 1 == _TRIES or self._ending:
                    break
                self._changed.wait_for(lambda: self._ending, 2.0**attempt / 2)
        return 0, reason


def _request(batch: Sequence[Ended], resource: Mapping[str, str]) -> dict[str, Any]:
    """One request with these spans, by run."""
    runs: dict[object, tuple[Any, list[Any]]] = {}
    for run, span in batch:
        runs.setdefault((run["run_id"], run["trace_id"]), (run, []))[1].append(span)
    parts = [traces_data(run, spans, resource)["resourceSpans"] for run, spans in runs.values()]
    return {"resourceSpans": [one for part in parts for one in part]}


def _rejected(answer: bytes) -> int:
    """How many spans the service did not take, where it says so in JSON."""
    try:
        return max(0, int(orjson.loads(answer)["partialSuccess"]["rejectedSpans"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0


def http_post(endpoint: str, content_type: str, headers: Mapping[str, str]) -> Post:
    """Posts to an endpoint, each time over a new connection; redirects are not followed."""
    parts = urlsplit(endpoint)
    path = parts.path if parts.path not in ("", "/") else "/v1/traces"

    def post(body: bytes) -> tuple[int, bytes]:
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = connect(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", path, body, {**headers, "Content-Type": content_type})
            response = connection.getresponse()
            return response.status, response.read(_MOST_ANSWER)
        finally:
            connection.close()

    return post
