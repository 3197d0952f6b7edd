"""What every tool has to do, as tests to inherit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import Grants, PermissionRequest, Subject
from sashizu_core.permissions import readable
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.contract import Contract
from sashizu_core.types import StepKind, ToolResult
from sashizu_core.workspace import Workspace

__all__ = ["ToolContract"]

RUN_S = 60.0
"""Seconds that a call of a test may take."""

PROMPT_S = 5.0
"""Seconds in which a cancelled call has to end."""

_PAIRS = st.tuples(
    st.integers(0, 9), st.none() | st.booleans() | st.integers() | st.text(max_size=20)
)
"""Arguments: which of the properties, and a value."""

NEEDS = {"fs.read", "fs.write", "net", "shell.exec", "spawn"}


@pytest.mark.anyio
class ToolContract(Contract):
    """Inherit it, give the fixture `spec`, and say what a good call looks like.

    ```python
    class TestCount(ToolContract):
        call = {"path": "notes.txt"}

        @pytest.fixture
        def spec(self):
            return count_tool()
    ```

    Attributes:
        call: arguments that succeed in a workspace of `files`.
        files: paths and texts of the workspace in which the tool is called.
    """

    call: ClassVar[Mapping[str, Any]] = {}
    files: ClassVar[Mapping[str, str]] = {
        "notes.txt": "one\ntwo\nthree\n",
        "src/main.py": "print('hi')\n",
    }

    @pytest.fixture
    def spec(self) -> ToolSpec:
        """The spec of the tool under test."""
        raise NotImplementedError("give the fixture `spec`")

    @pytest.fixture
    async def tool(self, spec: ToolSpec) -> AsyncIterator[Tool]:
        async with spec.open() as tool:
            yield tool

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Iterator[Workspace]:
        for path, text in self.files.items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        with Workspace.open(tmp_path) as workspace:
            yield workspace

    @pytest.fixture
    def context(self, workspace: Workspace) -> ToolContext:
        """The context of an agent that may read and write everything in the workspace."""
        grants = Grants(tools=None, fs_read=(".",), fs_write=(".",))
        subject = Subject("agent", "tester", (grants,))
        return ToolContext("agent", "tester", "run", workspace, readable=readable(subject))

    # --- what it says of itself -------------------------------------------------------------------

    async def test_its_spec_names_it_and_only_known_grants(
        self, spec: ToolSpec, tool: Tool
    ) -> None:
        assert spec.name == tool.schema.name
        assert spec.summary
        assert "\n" not in spec.summary
        assert set(spec.needs) <= NEEDS
        assert spec.name not in spec.aliases

    async def test_its_kind_is_a_kind_of_step(self, tool: Tool) -> None:
        assert isinstance(tool.kind, StepKind)
        assert tool.kind is tool.kind

    async def test_its_schema_is_one_of_an_object_whose_properties_are_described(
        self, tool: Tool
    ) -> None:
        schema = tool.schema
        parameters = json.loads(json.dumps(schema.parameters))
        assert schema.description
        assert parameters["type"] == "object"
        assert parameters.get("additionalProperties") is False, "unknown arguments must be refused"
        properties = parameters.get("properties", {})
        assert set(parameters.get("required", ())) <= set(properties)
        undescribed = [name for name, part in properties.items() if not part.get("description")]
        assert not undescribed, f"these arguments have no description: {undescribed}"
        assert set(self.call) <= set(properties)

    async def test_it_can_be_opened_twice(self, spec: ToolSpec, tool: Tool) -> None:
        async with spec.open() as second:
            assert second.schema == tool.schema

    # --- arguments --------------------------------------------------------------------------------

    async def test_good_arguments_are_read(self, tool: Tool) -> None:
        tool.parse(json.dumps(dict(self.call)))

    @pytest.mark.parametrize("text", ["{", "[]", "null", '"text"', "3", "{} {}", "\ud800"])
    async def test_what_is_no_json_object_is_refused(self, tool: Tool, text: str) -> None:
        with pytest.raises(ArgumentsError):
            tool.parse(text)

    async def test_an_unknown_argument_is_refused_by_name(self, tool: Tool) -> None:
        with pytest.raises(ArgumentsError, match="no_such_argument"):
            tool.parse(json.dumps({**self.call, "no_such_argument": 1}))

    async def test_a_missing_argument_is_refused_by_name(self, tool: Tool) -> None:
        for name in tool.schema.parameters.get("required", ()):
            rest = {key: value for key, value in self.call.items() if key != name}
            with pytest.raises(ArgumentsError, match=name):
                tool.parse(json.dumps(rest))

    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(text=st.text(max_size=40) | st.lists(_PAIRS, max_size=4))
    async def test_any_text_is_arguments_or_a_tool_error(
        self, tool: Tool, context: ToolContext, text: str | list[tuple[int, object]]
    ) -> None:
        names = [*tool.schema.parameters.get("properties", {}), "other"]
        if not isinstance(text, str):
            text = json.dumps({names[at % len(names)]: value for at, value in text})
        try:
            tool.requests(tool.parse(text), context)
        except ToolError:
            return

    # --- what it asks for -------------------------------------------------------------------------

    async def test_it_asks_for_the_same_each_time_and_touches_nothing(
        self, tool: Tool, context: ToolContext
    ) -> None:
        arguments = tool.parse(json.dumps(dict(self.call)))
        before = _snapshot(context.workspace.root)
        first = tuple(tool.requests(arguments, context))
        assert first == tuple(tool.requests(arguments, context))
        assert all(isinstance(request, get_args(PermissionRequest)) for request in first)
        assert _snapshot(context.workspace.root) == before

    # --- what it does -----------------------------------------------------------------------------

    async def test_it_answers_with_text(self, tool: Tool, context: ToolContext) -> None:
        with anyio.fail_after(RUN_S):
            result = await tool.run(tool.parse(json.dumps(dict(self.call))), context)
        assert isinstance(result, ToolResult)
        assert not result.is_error, result.content
        assert result.content.encode()

    async def test_a_pure_tool_changes_no_file(self, tool: Tool, context: ToolContext) -> None:
        if tool.kind is not StepKind.PURE:
            pytest.skip("it is a tool that changes something")
        before = _snapshot(context.workspace.root)
        with anyio.fail_after(RUN_S):
            await tool.run(tool.parse(json.dumps(dict(self.call))), context)
        assert _snapshot(context.workspace.root) == before

    async def test_it_ends_promptly_when_it_is_cancelled(
        self, tool: Tool, context: ToolContext
    ) -> None:
        arguments = tool.parse(json.dumps(dict(self.call)))
        ended = False
        with anyio.fail_after(PROMPT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(tool.run, arguments, context)
                await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            ended = True
        assert ended

    async def test_one_object_serves_several_calls_at_once(
        self, tool: Tool, context: ToolContext
    ) -> None:
        if tool.kind is not StepKind.PURE:
            pytest.skip("calls that change something run one after the other")
        arguments = tool.parse(json.dumps(dict(self.call)))
        answers: list[str] = []

        async def once() -> None:
            answers.append((await tool.run(arguments, context)).content)

        with anyio.fail_after(RUN_S):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(once)
        assert answers == [answers[0]] * 3


def _snapshot(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
