"""Which executor runs the agents is a setting."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sashizu_core.errors import UsageError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Executor
from sashizu_core.runtime.executor import LocalExecutor
from sashizu_core.runtime.opening import Opened
from sashizu_core.specs import ExecutorSpec


class Other(LocalExecutor):
    pass


@asynccontextmanager
async def _open() -> AsyncGenerator[Executor]:
    yield Other()


async def test_the_executor_of_that_name_is_opened() -> None:
    registry = Registry(executors={"other": ExecutorSpec("other", "", _open)})
    async with AsyncExitStack() as stack:
        opened = Opened(registry, stack)
        assert isinstance(await opened.executor("other"), Other)
        assert type(await opened.executor("local")) is LocalExecutor


async def test_an_unknown_executor_is_told_with_the_known_ones() -> None:
    registry = Registry(executors={"other": ExecutorSpec("other", "", _open)})
    async with AsyncExitStack() as stack:
        with pytest.raises(UsageError, match=r"'othr' in 'run.executor'; did you mean 'other'"):
            await Opened(registry, stack).executor("othr")
