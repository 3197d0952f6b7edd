"""The operations that the contract suite of executors asks for; workers of the suite know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from sashizu_core.errors import SashizuError
from sashizu_core.executors import Operation, Work, WorkContext

__all__ = ["CONTRACT_OPERATIONS"]


async def _echo(context: WorkContext) -> Any:
    await context.tell({"attempt": context.attempt})
    return {"echo": context.work.payload, "labels": sorted(context.work.labels)}


async def _tree(context: WorkContext) -> Any:
    """Hands over as many works as the first number of its payload says, one level less each."""
    width, depth = context.work.payload
    keys = [f"{context.work.key}.{number}" for number in range(width if depth else 0)]
    for key in keys:
        await context.submit(Work(key, "contract.tree", [width, depth - 1]))
        await context.submit(Work(key, "contract.tree", [width, depth - 1]))
    found = [await context.ended(key) for key in keys]
    return 1 + sum(status.result for status in found)


async def _parallel(context: WorkContext) -> Any:
    """Steps that end in the reverse of their order, as each waits for the one behind it."""
    count = int(context.work.payload)
    over = [anyio.Event() for _ in range(count + 1)]
    over[count].set()

    async def one(number: int) -> dict[str, int]:
        await over[number + 1].wait()
        over[number].set()
        return {"number": number}

    def call(number: int) -> Any:
        return lambda: one(number)

    return await context.parallel([("contract.one", call(number)) for number in range(count)])


async def _steps(context: WorkContext) -> Any:
    """Counts up in steps, and tells of each."""
    total = 0
    for number in range(int(context.work.payload)):

        async def add(now: int = total) -> int:
            return now + 1

        total = await context.step("contract.add", add)
        await context.tell({"number": number, "total": total})
    return total


async def _stuck(context: WorkContext) -> Any:
    """A step that ends when it is cancelled, and work beneath it that does as well."""
    below = int(context.work.payload)
    if below:
        await context.submit(Work(f"{context.work.key}.below", "contract.stuck", below - 1))
    await context.tell("stuck")
    return await context.step("contract.sleep", anyio.sleep_forever)


async def _signalled(context: WorkContext) -> Any:
    """What came as `answer`, until nothing came for the seconds of the payload."""
    found = []
    await context.tell("asking")
    while (answer := await context.signalled("answer", float(context.work.payload))) is not None:
        found.append(answer)
        await context.tell({"answer": answer})
    return found


async def _failing(context: WorkContext) -> Any:
    raise SashizuError(f"no, because {context.work.payload}")


async def _broken(context: WorkContext) -> Any:
    raise ZeroDivisionError(context.work.operation)


async def _no_json(context: WorkContext) -> Any:
    async def made() -> Any:
        return {1, 2}

    return await context.step("contract.set", made)


CONTRACT_OPERATIONS: Mapping[str, Operation] = {
    "contract.broken": _broken,
    "contract.echo": _echo,
    "contract.failing": _failing,
    "contract.no-json": _no_json,
    "contract.parallel": _parallel,
    "contract.signalled": _signalled,
    "contract.steps": _steps,
    "contract.stuck": _stuck,
    "contract.tree": _tree,
}
