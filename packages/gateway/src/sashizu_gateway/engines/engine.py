"""A program of another vendor at work for one agent: held, paid through a gateway, listened to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream
from sashizu_core.errors import ModelError, SandboxError, UsageError
from sashizu_core.grants import ExecRequest
from sashizu_core.home import state_home
from sashizu_core.ids import AgentId, RunId
from sashizu_core.sandboxing import Confinement, ProcessLimits, SandboxedProcess
from sashizu_core.turn.engine import EngineJob, EngineResult
from sashizu_core.types import Bound, Completion, ModelInfo, ModelRequest, Outcome, Usage

from sashizu_gateway.clients import Agent, Client
from sashizu_gateway.engines.listening import Listener, lines_of, tail_of
from sashizu_gateway.engines.programs import Program, find_program
from sashizu_gateway.engines.tongues import Tongue
from sashizu_gateway.gateway import PREFIX, Gateway
from sashizu_gateway.pointing import pointed
from sashizu_gateway.serving import serve
from sashizu_gateway.session import open_upstreams, usable
from sashizu_gateway.settings import GatewaySettings, targets

__all__ = ["PORT", "ForeignEngine"]

PORT = 8797
"""Where the gateway is, on the loopback address of a program's own network."""

LIMITS = ProcessLimits(cpu_s=6 * 3600, memory_bytes=64 * 1024**3, processes=512, open_files=4096)
"""What one program may use: they reserve far more addresses than they use memory."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RECEIVED = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Place:
    """The private folders of one job: a home for the program, and one for the gateway's socket."""

    home: Path
    socket: Path


class ForeignEngine:
    """A kind of program, and the model that it is to use; empty for its own choice."""

    def __init__(self, name: str, tongue: Tongue, settings: GatewaySettings) -> None:
        self._tongue = tongue
        self._settings = settings
        own = name.partition("/")[2]
        self._model = "" if own == "default" else own
        self._info = ModelInfo(name=name, provider=tongue.name, bills_tokens=False)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def bound(self, request: ModelRequest) -> Bound:
        """Nothing: what it asks of models is bounded where it asks."""
        return Bound(0, request.max_output_tokens or 0, "an engine is not asked")

    def learn(self, bound: Bound, usage: Usage) -> None:
        """There is nothing to learn."""

    async def count(self, request: ModelRequest) -> int | None:  # noqa: ARG002 - see `bound`
        return None

    async def complete(
        self,
        request: ModelRequest,  # noqa: ARG002 - see below
        *,
        on_text: Callable[[str], None] | None = None,  # noqa: ARG002
    ) -> Completion:
        """It answers no single questions.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{self._info.name!r} is a whole agent, which answers no single questions",
            fault="invalid_request",
        )

    # --- the work ---------------------------------------------------------------------------------

    def program(self, job: EngineJob) -> ExecRequest:
        """The program that is started.

        Raises:
            UsageError: it is not there, or the definition does not name it.
        """
        words = self._words(job)
        info = job.context.sandbox.info if job.context.sandbox is not None else None
        enforced = info.name if info is not None and info.kind == "enforced" else ""
        return ExecRequest(
            words, self._found(job).path, any_code=True, doubt="", enforced_by=enforced
        )

    def _words(self, job: EngineJob) -> tuple[str, ...]:
        if self._tongue.finds:
            return (self._tongue.finds,)
        if not job.command:
            raise UsageError(
                f"the agent {job.context.agent_name!r} has 'engine: command' and no 'command'"
            )
        return job.command

    def _found(self, job: EngineJob) -> Program:
        name = self._tongue.finds
        if name:
            return find_program(name, self._settings.programs.get(name, ""))
        path = shutil.which(job.command[0], path=_PATH)
        if path is None:
            raise UsageError(f"the program {job.command[0]!r} of 'command' is not there")
        return Program((path, *job.command[1:]), ())

    async def work(self, job: EngineJob) -> EngineResult:
        """Start it behind a gateway of its own, listen to it, and wait until it has ended.

        Raises:
            UsageError: there is no service to pay at, or the program is not there.
            SandboxError: nothing can hold it.
            RecordError: the record cannot be written.
        """
        listener = Listener(self._tongue.name, job.steps, job.on_text, job.context.progress)
        services = usable(targets(self._settings))
        for target in services.values():
            job.steps.recorder.redactor.learn(*target.secrets)
        async with open_upstreams(services, idle_s=self._settings.idle_s) as upstreams:
            gateway = Gateway(upstreams, self._settings)
            client = _client(job, self._settings.agents)
            gateway.admit(client)
            try:
                async with _private_folders(job.context.agent_id) as place:
                    await anyio.to_thread.run_sync(self._tongue.prepare, place.home)
                    async with serve(gateway, None, unix=place.socket):
                        said, status = await self._run(job, client, place, listener)
            finally:
                client.end()
                job.book(client.used, client.doubtful_tokens)
        return _result(listener, client, status, said)

    async def _run(
        self, job: EngineJob, client: Client, place: _Place, listener: Listener
    ) -> tuple[str, int]:
        """What it wrote to its standard error, and its exit status."""
        sandbox, confinement = job.context.sandbox, job.context.confinement
        if sandbox is None or confinement is None:
            raise SandboxError("there is nothing that could hold the program")
        found = self._found(job)
        url = f"http://127.0.0.1:{PORT}"
        own = self._tongue.words(self._model, f"{url}{PREFIX}", job.folder)
        start = pointed(("program",), url, client.secret, {})
        held = _held(confinement, place, found, {**start.environment, **_surroundings(place.home)})
        held = replace(
            held,
            environment={**held.environment, **self._tongue.environment(place.home)},
            served={PORT: partial(_bridge, place.socket)},
        )
        facts = {"folder": str(job.folder), "model": self._model, "base_url": f"{url}{PREFIX}"}
        told = self._tongue.told(job.instructions, job.task, facts)
        kept = bytearray()
        async with sandbox.start((*found.words, *own), held, stdin=True) as process:
            async with anyio.create_task_group() as group:
                group.start_soon(_tell, process, told)
                group.start_soon(tail_of, process.stderr, kept)
                await self._listen(process.stdout, listener)
            status = await process.wait()
        return kept.decode("utf-8", "replace").strip(), status

    async def _listen(self, stream: ByteReceiveStream, listener: Listener) -> None:
        async for event in lines_of(stream):
            self._tongue.take(event, listener)


def _client(job: EngineJob, most_agents: int) -> Client:
    """The agent as a client of its gateway: what the program asks for first, the agent asks for."""
    context, recorder = job.context, job.steps.recorder
    node = job.ledger.node if job.ledger is not None else None
    root = Agent(
        AgentId(context.agent_id), context.agent_name, job.depth, node, recorder, job.steps
    )
    return Client(
        context.agent_name,
        run_id=RunId(context.run_id),
        recorder=recorder,
        budget=job.ledger.budget if job.ledger is not None else None,
        node=node,
        root=root,
        most_agents=most_agents,
    )


def _held(
    confinement: Confinement, place: _Place, program: Program, environment: Mapping[str, str]
) -> Confinement:
    """What the program may touch: what its agent may, itself, and its private home."""
    return replace(
        confinement,
        readable=(*confinement.readable, *program.readable),
        writable=(*confinement.writable, place.home),
        environment=environment,
        limits=LIMITS,
        judge=None,
    )


def _surroundings(home: Path) -> Mapping[str, str]:
    return {
        "PATH": _PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "SHELL": "/bin/bash",
    }


@asynccontextmanager
async def _private_folders(agent_id: str) -> AsyncGenerator[_Place]:
    """A home that lies in no temporary folder, where some programs keep nothing; gone at the end.

    The socket lies in one, because the path of a socket has to be short.
    """
    home = state_home() / "engines" / agent_id

    def make() -> Path:
        home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.mkdir(mode=0o700)
        return Path(tempfile.mkdtemp(prefix="sashizu-"))

    short = await anyio.to_thread.run_sync(make)
    try:
        yield _Place(home, short / "gateway")
    finally:
        with anyio.CancelScope(shield=True):
            for folder in (home, short):
                await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))


async def _tell(process: SandboxedProcess, told: bytes) -> None:
    """Give it its task; a program that reads none has no need of it."""
    if process.stdin is None:
        return
    try:
        await process.stdin.send(told)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return
    finally:
        await process.stdin.aclose()


async def _bridge(socket: Path, program: ByteStream) -> None:
    """Lead one connection of a program to the gateway, until either side ends it."""
    async with await anyio.connect_unix(socket) as gateway, anyio.create_task_group() as group:

        async def pass_on(source: ByteReceiveStream, target: ByteSendStream) -> None:
            try:
                while True:
                    await target.send(await source.receive(_RECEIVED))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                group.cancel_scope.cancel()

        group.start_soon(pass_on, program, gateway)
        group.start_soon(pass_on, gateway, program)


def _result(listener: Listener, client: Client, status: int, said: str) -> EngineResult:
    heard = listener.heard
    agents = len(list(client.agents))
    if status == 0 and heard.answer and not heard.failed:
        return EngineResult(Outcome.ANSWERED, heard.answer, "", heard.declared, agents)
    refused = next((agent.over_budget for agent in client.agents if agent.over_budget), "")
    last = said.splitlines()[-1][:500] if said else ""
    why = heard.failed or last or f"it ended with {status} and no answer"
    outcome = Outcome.BUDGET if refused else Outcome.FAILED
    error = refused or f"{listener.name} failed: {why}"
    return EngineResult(outcome, heard.answer, error, heard.declared, agents)
