"""What everything that admits local models has to do, as tests to inherit.

```python
class TestAdmission(AdmissionContract):
    @pytest.fixture
    async def admission(self) -> AsyncIterator[Admission]:
        async with my_admission().open(()) as admission:
            yield admission
```
"""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from sashizu_core.protocols import Admission
from sashizu_core.testing.contract import Contract
from sashizu_core.types import ModelInfo

__all__ = ["AdmissionContract"]

_OUTCOMES = {"placed", "joined", "queued", "refused", "spilled", "failed"}
_WAIT_S = 60.0


class AdmissionContract(Contract):
    """Inherit it, and override `admission` and `info`."""

    @pytest.fixture
    def admission(self) -> Any:
        """The admission under test; the fixture may be async."""
        raise NotImplementedError("override the fixture `admission`")

    @pytest.fixture
    def info(self) -> ModelInfo:
        """A model that it governs, and that it lets one call use at a time."""
        raise NotImplementedError("override the fixture `info`")

    async def test_a_model_that_nobody_loads_is_not_governed(self, admission: Admission) -> None:
        assert not admission.governs(ModelInfo("far/away", "far"))

    async def test_a_call_gets_its_place_and_hears_of_it_before(
        self, admission: Admission, info: ModelInfo
    ) -> None:
        told: list[dict[str, Any]] = []
        assert admission.governs(info)
        with anyio.fail_after(_WAIT_S):
            async with admission.place(info, lambda decision: told.append(dict(decision))):
                heard = list(told)
        assert heard[-1]["outcome"] in {"placed", "joined"}
        assert {decision["outcome"] for decision in told} <= _OUTCOMES
        assert all(decision["reason"] for decision in told)
        json.dumps(told)

    async def test_a_second_call_waits_for_the_first(
        self, admission: Admission, info: ModelInfo
    ) -> None:
        order: list[str] = []
        waits = anyio.Event()

        async def second() -> None:
            def told(decision: Any) -> None:
                if decision["outcome"] == "queued":
                    waits.set()

            async with admission.place(info, told):
                order.append("second")

        with anyio.fail_after(_WAIT_S):
            async with anyio.create_task_group() as group, admission.place(info, lambda _: None):
                group.start_soon(second)
                await waits.wait()
                order.append("first")
        assert order == ["first", "second"]

    async def test_who_is_cancelled_leaves_nothing_behind(
        self, admission: Admission, info: ModelInfo
    ) -> None:
        with anyio.fail_after(_WAIT_S):
            async with (
                admission.place(info, lambda _: None),
                anyio.create_task_group() as group,
            ):
                waits = anyio.Event()

                async def waiting() -> None:
                    async with admission.place(info, lambda _: waits.set()):
                        pytest.fail("two calls were let in")

                group.start_soon(waiting)
                await waits.wait()
                group.cancel_scope.cancel()
            async with admission.place(info, lambda _: None):
                pass

    async def test_a_call_that_fails_gives_its_place_back(
        self, admission: Admission, info: ModelInfo
    ) -> None:
        with anyio.fail_after(_WAIT_S):
            with pytest.raises(ZeroDivisionError):
                async with admission.place(info, lambda _: None):
                    raise ZeroDivisionError
            async with admission.place(info, lambda _: None):
                pass
