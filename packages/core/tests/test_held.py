"""Which sandbox a run uses: the best that works, and `none` only by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from sashizu_core.errors import SandboxError, UsageError
from sashizu_core.runtime.held import open_sandbox
from sashizu_core.sandboxing import Confinement, NoSandbox, Sandbox, SandboxInfo
from sashizu_core.specs import SandboxSpec

Kind = Literal["enforced", "partial", "none"]


def spec(name: str, kind: Kind, rank: int = 100) -> SandboxSpec:
    info = SandboxInfo(name, kind, "it does not work" if kind == "none" else "", "mend it")

    @asynccontextmanager
    async def open_() -> AsyncIterator[Sandbox]:
        yield NoSandbox(info)

    return SandboxSpec(name, name, lambda: info, open_, rank)


async def chosen(wanted: str, *specs: SandboxSpec) -> SandboxInfo:
    async with AsyncExitStack() as stack:
        return (await open_sandbox(wanted, {s.name: s for s in specs}, stack)).info


async def test_the_first_that_enforces_everything_is_taken() -> None:
    offered = [spec("part", "partial", 1), spec("second", "enforced", 9), spec("first", "enforced")]
    assert (await chosen("auto", *offered)).name == "second"


async def test_what_holds_in_part_is_better_than_nothing() -> None:
    assert (await chosen("auto", spec("a", "none", 1), spec("b", "partial"))).name == "b"


async def test_none_is_never_chosen_but_by_name() -> None:
    free = spec("none", "none")
    assert (await chosen("auto", free)).reason == "no sandbox is installed"
    assert (await chosen("none", free)).reason == "it does not work"


async def test_where_nothing_holds_no_program_starts_and_the_remedy_is_told() -> None:
    async with AsyncExitStack() as stack:
        sandbox = await open_sandbox("auto", {"a": spec("a", "none")}, stack)
        assert sandbox.info.kind == "none"
        with pytest.raises(SandboxError, match="it does not work; mend it"):
            async with sandbox.start(["/bin/true"], Confinement(Path("/"))):
                pass


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("bubblewarp", "did you mean 'bubblewrap'"), ("bubblewrap", "does not work here: it does")],
)
async def test_a_choice_that_cannot_be_had_is_refused(wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await chosen(wanted, spec("bubblewrap", "none"))
