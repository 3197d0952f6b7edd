"""`sashizu policy`: what an agent may do, and why a call would be allowed or not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from sashizu_core.builtin.plugin import register_tools
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.grants import ExecRequest, NetRequest, PermissionRequest
from sashizu_core.permissions import grants_sha256
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.sandboxing import SandboxInfo
from sashizu_core.settings import Settings
from sashizu_core.specs import SandboxSpec, ToolSpec
from sashizu_core.types import StepKind, ToolResult

AGENT = """\
name: alpha
goal: Look.
tools:
  mcp: [read_file, write_file, start]
  fs:
    read: [src, docs]
    write: [docs]
  net:
    allow:
      - example.org
  shell:
    exec: [make]
artifacts: [report.md]
"""
POLICY = """\
[policy.ceiling.tools.fs]
write = ["docs/public"]

[[policy.rule]]
verdict = "deny"
touches = "read"
pattern = "src/private"
reason = "it is not ours"
match = ["src/private/a.py"]
not_match = ["src/a.py"]
"""


class StartArguments(Arguments):
    url: str = ""


class Start(TypedTool[StartArguments]):
    name = "start"
    description = "Runs make."
    arguments = StartArguments
    kind = StepKind.EFFECT

    def requests(
        self, arguments: StartArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        info = context.sandbox.info if context.sandbox is not None else None
        held = info.name if info is not None and info.kind == "enforced" else ""
        program = ExecRequest(("make",), "/usr/bin/make", any_code=True, enforced_by=held)
        if not arguments.url:
            return [program]
        return [program, NetRequest("https", arguments.url, 443, "/")]

    async def run(self, arguments: StartArguments, context: ToolContext) -> ToolResult:
        raise AssertionError("nothing is done when a call is explained")


class Box:
    """A sandbox that is asked for nothing but what it is."""

    def __init__(self, info: SandboxInfo) -> None:
        self.info = info

    def start(self, argv, confinement, *, stdin=False):
        raise AssertionError("nothing is started when a call is explained")


@asynccontextmanager
async def _open_start() -> AsyncIterator[Tool]:
    yield Start()


def box(info: SandboxInfo, rank: int = 100) -> SandboxSpec:
    @asynccontextmanager
    async def open_() -> AsyncIterator[Box]:
        yield Box(info)

    return SandboxSpec(info.name, "for tests", lambda: info, open_, rank)


@pytest.fixture
def project(world, monkeypatch):
    """A project with the agent, the policy of its user, and tools; gives a way to add sandboxes."""
    (world.folder / "agents" / "alpha.yaml").write_text(AGENT)
    config = world.folder.parent / "config" / "sashizu"
    config.mkdir(parents=True)
    (config / "sashizu.toml").write_text('[run]\nmodel = "fake/scripted"\n' + POLICY)
    base = world.session("never asked").registry
    tools = {spec.name: spec for spec in register_tools(Settings())}
    tools["start"] = ToolSpec("start", "run make", _open_start, needs=("shell.exec",))

    def with_sandboxes(*specs: SandboxSpec) -> None:
        registry = Registry(
            models=base.models,
            tools=tools,
            agents=base.agents,
            sandboxes={spec.name: spec for spec in specs},
        )
        monkeypatch.setattr("sashizu_core.plugins.open_registry", lambda _: registry)

    with_sandboxes()
    return with_sandboxes


def explained(cli, tool: str, **arguments: object) -> dict:
    code, out, err = cli(
        "policy", "explain", "--agent", "alpha", "--tool", tool,
        "--args", json.dumps(arguments), "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    return json.loads(out)


def shown(cli) -> dict:
    code, out, err = cli("policy", "show", "--agent", "alpha", "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


# --- explain --------------------------------------------------------------------------------------


def test_an_allowed_call_names_the_grant_with_its_line_and_what_holds_it(project, cli, world):
    found = explained(cli, "read_file", path="docs/a.md")

    assert found["decision"] == "allow"
    path = found["requests"][1]
    assert (path["kind"], path["rule"]) == ("path", "fs.read: docs")
    assert path["source"] == f"{world.folder / 'agents' / 'alpha.yaml'}:6"
    assert path["backend"] == {"name": "workspace", "kind": "enforced", "reason": ""}


def test_a_rule_of_the_operator_is_named_with_file_and_line(project, cli, world):
    found = explained(cli, "read_file", path="src/private/key.py")

    assert found["decision"] == "deny"
    assert "it is not ours" in found["reason"]
    path = found["requests"][1]
    assert path["rule"] == "deny read: src/private"
    assert path["source"] == f"{world.folder.parent / 'config' / 'sashizu' / 'sashizu.toml'}:6"


def test_what_the_operators_ceiling_does_not_reach_is_denied_with_its_source(project, cli, world):
    assert explained(cli, "write_file", path="docs/public/a", content="")["decision"] == "allow"

    found = explained(cli, "write_file", path="docs/a", content="")

    assert found["decision"] == "deny"
    assert found["requests"][1]["source"].startswith("the operator's policy, ")


def test_any_code_is_denied_without_a_sandbox_that_enforces_and_says_so(project, cli):
    found = explained(cli, "start")

    assert found["decision"] == "deny"
    assert "runs any code: allowed only in an enforcing sandbox" in found["reason"]
    assert found["requests"][1]["backend"] == {
        "name": "none",
        "kind": "advisory",
        "reason": "no sandbox is installed",
    }


def test_the_best_sandbox_that_works_here_is_what_holds_programs_and_connections(project, cli):
    project(box(SandboxInfo("weak", "none", "off"), 1), box(SandboxInfo("box", "enforced"), 50))

    found = explained(cli, "start", url="example.org")

    assert found["decision"] == "allow"
    held = {"name": "box", "kind": "enforced", "reason": ""}
    assert [request["backend"] for request in found["requests"][1:]] == [held, held]
    assert [request["rule"] for request in found["requests"]] == [
        "tools: start",
        "shell.exec: make",
        "net: example.org",
    ]


def test_a_sandbox_that_holds_only_a_part_is_called_advisory(project, cli):
    project(box(SandboxInfo("part", "partial", "no network rules")))

    backend = explained(cli, "start")["requests"][1]["backend"]

    assert backend == {"name": "part", "kind": "advisory", "reason": "no network rules"}


def test_a_tool_that_the_agent_does_not_have_is_denied_with_the_reason(project, cli):
    found = explained(cli, "grep", pattern="x")

    assert found["decision"] == "deny"
    assert found["requests"] == []
    assert "does not list it" in found["reason"]


def test_what_cannot_be_told_of_a_call_is_a_denial(project, cli):
    found = explained(cli, "read_file", path="../outside")

    assert (found["decision"], found["requests"]) == ("deny", [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--agent", "nobody", "--tool", "grep"), "unknown agent 'nobody'"),
        (("--agent", "alpha", "--tool", "grepp"), "unknown tool 'grepp'; did you mean 'grep'?"),
        (("--agent", "alpha", "--tool", "read_file", "--args", "{"), "--args: "),
        (("--agent", "alpha", "--tool", "read_file", "--args", '{"pth": 1}'), "'pth'"),
        (("--agent", "alpha"), "--tool"),
    ],
)
def test_bad_input_ends_with_two_and_says_what_is_wrong(project, cli, words, told):
    code, out, err = cli("policy", "explain", *words)

    assert (code, out) == (2, "")
    assert told in err


def test_people_read_the_same_in_lines(project, cli, world):
    code, out, _ = cli(
        "policy", "explain", "--agent", "alpha", "--tool", "read_file",
        "--args", '{"path": "src/.env\\u001b[31m"}',
    )  # fmt: skip

    assert code == 0
    assert out.splitlines()[0].startswith("deny: alpha may not read 'src/.env")
    assert "  held by  workspace (enforced)" in out
    assert "\x1b" not in out


# --- show -----------------------------------------------------------------------------------------


def test_the_effective_permission_is_shown_with_the_source_of_each_grant(project, cli, world):
    found = shown(cli)

    agent = str(world.folder / "agents" / "alpha.yaml")
    granted = {(grant["kind"], grant["value"]): grant["sources"] for grant in found["granted"]}
    assert granted["fs.read", "src"][0] == f"{agent}:6"
    assert granted["net", "https://example.org"][0] == f"{agent}:10"
    assert granted["shell.exec", "make"][0] == f"{agent}:12"
    assert ("fs.write", "docs") not in granted
    (source,) = granted["fs.write", "docs/public"]
    assert source.startswith("the operator's policy, ")
    assert granted["fs.write", ".sashizu/runs/RUN/alpha"][0] == "given by the run"
    assert found["rules"][0]["rule"] == "deny read: src/private"
    assert found["backends"]["programs"]["kind"] == "advisory"


def test_people_read_the_permission_as_tables(project, cli):
    code, out, _ = cli("policy", "show", "--agent", "alpha")

    assert code == 0
    for part in ("KIND", "docs/public", "# except", "deny read: src/private", "policy_sha256 "):
        assert part in out


def test_a_project_cannot_set_a_policy(project, cli, world):
    (world.folder / "sashizu.toml").write_text("[policy.ceiling.tools.fs]\nread = true\n")

    code, _, err = cli("policy", "show", "--agent", "alpha")

    assert code == 2
    assert "may not be set by a project" in err


def test_the_fingerprint_is_that_of_the_whole_chain(project, cli, world):
    from sashizu_cli.policy_view import plan_of
    from sashizu_cli.session import Session

    before = shown(cli)["policy_sha256"]
    plan, _ = plan_of(Session(), "alpha")
    assert before == grants_sha256(plan.chain)
    assert len(plan.chain) == 2

    file = world.folder.parent / "config" / "sashizu" / "sashizu.toml"
    file.write_text(file.read_text().replace("docs/public", "docs/other"))

    assert shown(cli)["policy_sha256"] != before
