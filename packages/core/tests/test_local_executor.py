"""The executor of this process does what every executor does."""

from collections.abc import AsyncIterator

import pytest
from sashizu_core.executors import Executor
from sashizu_core.runtime.local_executor import local_executor
from sashizu_core.testing import ExecutorContract
from sashizu_core.testing.executor_operations import CONTRACT_OPERATIONS


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    async def executor(self) -> AsyncIterator[Executor]:
        async with local_executor(CONTRACT_OPERATIONS) as executor:
            yield executor
