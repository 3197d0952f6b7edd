"""The edge to DBOS Transact: nothing else in this package imports it.

One workflow does all work: it has the key of the work as its id and its only argument, and lets the
board say what that is. So whatever the engine stores is a key, or the result of a step.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import combinations
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from dbos import DBOS, DBOSClient, DBOSConfig, Serializer
from psycopg.conninfo import conninfo_to_dict
from sashizu_core.errors import UsageError

from sashizu_cluster.board import queue_of
from sashizu_cluster.errors import explained

__all__ = ["WORKFLOW", "Engine", "EngineClient", "engine_schema", "queues_for", "set_up_engine"]

WORKFLOW = "sashizu.work"

APPLICATION = "sashizu"

MOST_LABELS = 6
"""Labels of one worker: it listens to a queue for every set of them."""

_ATTEMPTS = 1000
"""How often the engine begins a work anew before it takes it for one that kills its workers."""

_POLL_S = 0.25

_RUNS_AT_ONCE = 1000
"""Runs that one worker looks after at once: they wait for their agents."""

_AT_ONCE = 8
"""Agents that work at once on each worker, until one says otherwise."""

_LONGEST = 31
"""Characters of a tenant's name in that of its schema; PostgreSQL cuts names off after 63."""

Step = Callable[[], Awaitable[Any]]

_do: Callable[[str], Awaitable[None]] | None = None
"""What the workflow of this process does; the engine knows one application per process."""


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=_ATTEMPTS)
async def _work(key: str) -> str:
    if _do is None:  # the engine begins nothing before it is launched
        raise RuntimeError("no worker is at work in this process")
    await _do(key)
    return key


class _Json(Serializer):
    """JSON alone goes into the engine's tables, and comes out of them."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            data = {"error": f"{type(data).__name__}: {data}"}
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        found = json.loads(serialized_data)
        if isinstance(found, dict) and set(found) == {"args", "kwargs"}:
            found["args"] = tuple(found["args"])
        return found

    def name(self) -> str:
        return "sashizu_json"


def engine_schema(tenant: str) -> str:
    """The schema that the engine keeps the works of a tenant in: no other tenant has the same."""
    if tenant.isalnum() and len(tenant) <= _LONGEST:
        return f"sashizu_engine_{tenant}"
    return f"sashizu_engine_{tenant.replace('-', '_')[:_LONGEST]}_{_digest(tenant)}"


def _digest(tenant: str) -> str:
    return sha256(tenant.encode()).hexdigest()[:16]


def queues_for(labels: Collection[str]) -> list[str]:
    """Every queue that a worker with these labels can serve.

    Raises:
        UsageError: there are too many labels.
    """
    if len(labels) > MOST_LABELS:
        raise UsageError(
            f"a worker has at most {MOST_LABELS} labels, not {len(labels)}: name those that work "
            "asks for"
        )
    ordered = sorted(labels)
    sets = [some for size in range(len(ordered) + 1) for some in combinations(ordered, size)]
    return [queue_of(some, top=top) for top in (True, False) for some in sets]


def set_up_engine(dsn: str, tenant: str, role: str = "") -> None:
    """Make the engine's tables or bring them up to date; a role may use them. Blocks."""
    _quiet()
    DBOS.migrate(_url(dsn), schema=engine_schema(tenant), application_role=role or None)


def _url(dsn: str) -> str:
    """A connection string of libpq as the URL that the engine wants."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value}
    who = quote(parts.pop("user", ""), safe="")
    if password := parts.pop("password", ""):
        who = f"{who}:{quote(password, safe='')}"
    database = quote(parts.pop("dbname", who or "postgres"), safe="")
    return f"postgresql://{who}{'@' if who else ''}/{database}?{urlencode(parts)}"


def _quiet() -> None:
    """Leave what the engine says of itself out, but for what goes wrong."""
    logging.getLogger("dbos").setLevel(logging.ERROR)


@contextmanager
def _explaining(dsn: str) -> Iterator[None]:
    """Whatever of the driver the engine lets through comes out as a `ClusterError`."""
    try:
        yield
    except Exception as error:
        found = getattr(error, "orig", error)
        if isinstance(found, psycopg.Error):
            raise explained(found, dsn) from error
        raise


class EngineClient:
    """Hands works to the engine, and takes back those that nobody has begun. Blocks."""

    def __init__(self, dsn: str, tenant: str, version: str) -> None:
        _quiet()
        self._dsn = dsn
        self._version = version
        with _explaining(dsn):
            self._client = DBOSClient(
                system_database_url=_url(dsn),
                dbos_system_schema=engine_schema(tenant),
                serializer=_Json(),
                application_name=APPLICATION,
                retry_connection_errors=False,
            )
        self._known: set[str] = set()

    def enqueue(self, key: str, queue: str) -> None:
        """Have a worker of this version do a work; twice is once."""
        with _explaining(self._dsn):
            self._enqueue(key, queue)

    def _enqueue(self, key: str, queue: str) -> None:
        if queue not in self._known:
            at_once = _RUNS_AT_ONCE if "/runs/" in queue else _AT_ONCE
            self._client.register_queue(
                queue,
                worker_concurrency=at_once,
                polling_interval_sec=_POLL_S,
                on_conflict="never_update",
            )
            self._known.add(queue)
        self._client.enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": queue,
                "workflow_id": key,
                "app_version": self._version,
            },
            key,
        )

    def give_up(self, keys: Sequence[str]) -> None:
        """Have nobody begin these works any more."""
        with _explaining(self._dsn):
            if keys:
                self._client.cancel_workflows(list(keys))

    def forget(self, keys: Sequence[str]) -> None:
        """Keep nothing of works that have ended."""
        with _explaining(self._dsn):
            if keys:
                self._client.delete_workflows(list(keys))

    def left_by(self, executor: str) -> list[str]:
        """The works that an executor had begun and not ended."""
        with _explaining(self._dsn):
            found = self._client.list_workflows(
                executor_id=executor,
                status="PENDING",
                app_version=self._version,
                load_input=False,
                load_output=False,
            )
        return [each.workflow_id for each in found]

    def hand_on(self, keys: Sequence[str], queue: str) -> None:
        """Have somebody else go on with works whose worker is gone."""
        with _explaining(self._dsn):
            self._client.resume_workflows(list(keys), queue_name=queue)

    def close(self) -> None:
        self._client.destroy()


class Engine:
    """The engine at work in this process: launched once, from the event loop that is to do it."""

    def __init__(self, dsn: str, tenant: str, version: str, executor: str) -> None:
        _quiet()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": _url(dsn),
            "dbos_system_schema": engine_schema(tenant),
            "serializer": _Json(),
            "executor_id": executor,
            "application_version": version,
            "run_migrations": False,
            "log_level": "ERROR",
            "enable_otlp": False,
        }
        DBOS(config=config)

    def launch(self, queues: Sequence[str], do: Callable[[str], Awaitable[None]]) -> None:
        """Begin to work; what this executor left is gone on with. Blocks for less than seconds."""
        global _do  # noqa: PLW0603 - the engine is one per process, too
        _do = do
        DBOS.listen_queues(list(queues))
        DBOS.launch()

    async def serve(self, labels: Collection[str], at_once: int) -> None:
        """Have the queue of agents with just these labels give each worker as many at once."""
        await DBOS.register_queue_async(
            queue_of(labels, top=False),
            worker_concurrency=at_once,
            polling_interval_sec=_POLL_S,
            on_conflict="always_update",
        )

    async def step(self, name: str, call: Step) -> Any:
        """A step of the workflow that this is called in: its result is stored before it is seen."""
        return await DBOS.run_step_async({"name": name}, call)

    async def parallel(self, calls: Sequence[tuple[str, Step]], together: Any) -> list[Any]:
        """Steps at once: their numbers are drawn in the order given, before the first begins."""
        drawn = [(DBOS.reserve_step(), name, call) for name, call in calls]
        made: list[Any] = await together(
            [
                lambda reserved=reserved, name=name, call=call: reserved.run_async(
                    {"name": name}, call
                )
                for reserved, name, call in drawn
            ]
        )
        return made

    def close(self, seconds: float) -> None:
        """Stop; what is still at work is left to whoever has this executor's id next."""
        DBOS.destroy(workflow_completion_timeout_sec=int(seconds))
