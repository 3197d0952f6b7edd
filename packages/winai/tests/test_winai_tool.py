"""The tool `windows_action`: only what the operator named, only files the agent may read."""

from __future__ import annotations

import json

import pytest
from sashizu_core.errors import ToolError
from sashizu_core.grants import Grants, NetRequest, PathRequest, Subject
from sashizu_core.permissions import authorize, readable
from sashizu_core.protocols import ToolContext
from sashizu_core.types import StepKind
from sashizu_core.workspace import Workspace
from sashizu_winai.fake import FakeBackend
from sashizu_winai.runtime import WindowsAiRuntime
from sashizu_winai.settings import WinAiSettings
from sashizu_winai.tool import WindowsAction


@pytest.fixture
def context(tmp_path):
    (tmp_path / "in.txt").write_text("x")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/out.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to("secret/out.txt")
    (tmp_path / "away.txt").symlink_to("/etc/hostname")
    subject = Subject("agent", "tester", (Grants(fs_read=("in.txt", "link.txt", "away.txt")),))
    with Workspace.open(tmp_path) as workspace:
        yield ToolContext("agent", "tester", "run", workspace, readable=readable(subject))


def tool_for(*actions, timeout=5.0):
    fake = FakeBackend()
    settings = WinAiSettings(actions=actions, timeout=timeout)
    return fake, WindowsAction(WindowsAiRuntime(fake, 1.0), settings)


def call(tool, action, **inputs):
    return tool.parse(json.dumps({"action": action, "inputs": inputs}))


@pytest.mark.parametrize("allowed", [(), ("fake.upper",), ("fake.echo.more",), ("other.*",)])
async def test_an_action_that_the_operator_did_not_name_is_neither_judged_nor_run(context, allowed):
    fake, tool = tool_for(*allowed)
    arguments = call(tool, "fake.echo", text={"kind": "text", "value": "hi"})

    with pytest.raises(ToolError, match=r"not allowed.*\[winai\]"):
        tool.requests(arguments, context)
    with pytest.raises(ToolError, match="not allowed"):
        await tool.run(arguments, context)
    assert fake.invoked == []


async def test_files_are_asked_for_before_and_given_as_absolute_paths(context):
    fake, tool = tool_for("fake.*")
    arguments = call(tool, "fake.echo", text={"kind": "file", "value": "./in.txt"})

    assert list(tool.requests(arguments, context)) == [PathRequest("in.txt", "read")]
    result = await tool.run(arguments, context)

    assert fake.invoked[0][1]["text"].value == str(context.workspace.root / "in.txt")
    assert (result.is_error, result.error_type) == (True, "unsupported")
    assert tool.kind is StepKind.EFFECT


@pytest.mark.parametrize("path", ["../x", "away.txt", "link.txt", "nothing.txt"])
async def test_a_path_that_leads_where_the_agent_may_not_read_never_reaches_the_action(
    context, path
):
    fake, tool = tool_for("fake.*")
    arguments = call(tool, "fake.echo", text={"kind": "photo", "value": path})

    with pytest.raises(ToolError):
        await tool.run(arguments, context)
    assert fake.invoked == []


async def test_a_uri_is_reached_only_where_the_agent_may_connect_to(context):
    _, tool = tool_for("fake.*")
    uri = "https://Example.org:8443/a/b?key=1#top"
    arguments = call(tool, "fake.echo", text={"kind": "uri", "value": uri})

    (asked,) = tool.requests(arguments, context)
    assert asked == NetRequest("https", "example.org", 8443, "/a/b")
    (refused, granted) = (
        authorize([asked], Subject("agent", "tester", (Grants(net=net),)))
        for net in ((), ("example.org:8443",))
    )
    assert (refused.verdict, granted.verdict) == ("deny", "allow")


@pytest.mark.parametrize(
    "uri",
    [
        "file:///C:/secret",
        "\\\\host\\share",
        "ms-settings:x",
        "https://me@h.org/",
        "http:h.org",
        "",
    ],
)
async def test_a_uri_that_no_grant_is_about_never_reaches_the_action(context, uri):
    fake, tool = tool_for("fake.*")
    arguments = call(tool, "fake.echo", text={"kind": "uri", "value": uri})

    with pytest.raises(ToolError, match="cannot be given"):
        await tool.run(arguments, context)
    assert fake.invoked == []


async def test_an_answer_names_its_backend(context):
    _, tool = tool_for("fake.upper")
    arguments = call(tool, "fake.upper", text={"kind": "text", "value": "hi"})

    assert list(tool.requests(arguments, context)) == []
    told = json.loads((await tool.run(arguments, context)).content)

    assert (told["status"], told["backend"]) == ("success", "fake")
    assert told["outputs"] == {"text": {"kind": "text", "value": "HI"}}


async def test_an_action_that_hangs_is_a_tool_error_in_time(context):
    fake, tool = tool_for("fake.*", timeout=0.01)
    arguments = call(tool, "fake.hang", text={"kind": "text", "value": "hi"})

    with pytest.raises(ToolError, match="no answer within"):
        await tool.run(arguments, context)
    assert fake.cancelled == 1
