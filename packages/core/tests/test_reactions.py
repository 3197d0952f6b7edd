"""Commands that react to agents: what they are told, what they can stop, and what holds them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.errors import ConfigError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Approval, Question
from sashizu_core.reactions import EVENTS, Reaction
from sashizu_core.reactions.book import brought_reactions, load_book
from sashizu_core.reactions.payload import tool_input, tool_names
from sashizu_core.reactions.said import Said, heard, read_said
from sashizu_core.reactions.table import HooksSettings, reactions_of
from sashizu_core.runtime import delegate_parallel
from sashizu_core.sandboxing import Confinement, SandboxInfo
from sashizu_core.settings import Settings, load_settings
from sashizu_core.specs import SandboxSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.trust import TrustStore
from sashizu_core.types import Outcome, RunReport, Task, ToolCall

# --- a sandbox that holds nothing, and remembers what it should have held -------------------------


class Running:
    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def stdin(self) -> ByteSendStream | None:
        return self._process.stdin

    @property
    def stdout(self) -> ByteReceiveStream:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> ByteReceiveStream:
        assert self._process.stderr is not None
        return self._process.stderr

    async def wait(self) -> int:
        return await self._process.wait()

    def kill(self) -> None:
        self._process.kill()


class OpenSandbox:
    """Starts programs as they are."""

    def __init__(self) -> None:
        self.info = SandboxInfo("open", "enforced")
        self.held: list[Confinement] = []

    @asynccontextmanager
    async def _start(
        self, argv: Sequence[str], confinement: Confinement, stdin: bool
    ) -> AsyncIterator[Running]:
        self.held.append(confinement)
        async with await anyio.open_process(
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            cwd=confinement.cwd,
            env=dict(confinement.environment),
        ) as process:
            try:
                yield Running(process)
            finally:
                if process.returncode is None:
                    process.kill()

    def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AbstractAsyncContextManager[Running]:
        return self._start(argv, confinement, stdin)


def sandbox_spec(sandbox: OpenSandbox) -> SandboxSpec:
    @asynccontextmanager
    async def open_() -> AsyncIterator[OpenSandbox]:
        yield sandbox

    return SandboxSpec("open", "holds nothing", lambda: sandbox.info, open_)


# --- the world ------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "sashizu"
    folder.mkdir(parents=True)
    monkeypatch.setattr("sashizu_core.reactions.book.config_home", lambda: folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, config: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha\n", "utf-8")
    return folder


@pytest.fixture
def sandbox() -> OpenSandbox:
    return OpenSandbox()


class Yes:
    def __init__(self) -> None:
        self.questions: list[Question] = []

    async def ask(self, question: Question) -> Approval:
        self.questions.append(question)
        return Approval("once", by="test")


Runner = Callable[..., Any]
READ: Mapping[str, Any] = {"mcp": ["read_file"], "fs": {"read": True}}
READING = ([call("read_file", path="a.txt")], "done")


@pytest.fixture
def run(place: Path, sandbox: OpenSandbox) -> Runner:
    async def runner(
        *script: Any,
        hooks: Mapping[str, Any] | None = None,
        tools: Mapping[str, Any] = READ,
        **options: Any,
    ) -> tuple[RunReport, ScriptedModel, MemorySink]:
        model, sink = ScriptedModel(script), MemorySink()
        worker = {"name": "worker", "goal": "work", "model": model.info.name, "tools": tools}
        with anyio.fail_after(30):
            report = await delegate_parallel(
                [Task("worker", "work")],
                workspace=place,
                agents=[AgentDefinition.model_validate(worker)],
                settings=Settings({"hooks": hooks or {}}),
                registry=Registry(
                    models={model.info.name: scripted_model(model)},
                    tools={spec.name: spec for spec in builtin.register_tools(Settings())},
                    sandboxes={"open": sandbox_spec(sandbox)},
                ),
                sinks=[sink],
                audit=False,
                **options,
            )
        return report, model, sink

    return runner


def on(event: str, command: str, matcher: str = "", **more: Any) -> dict[str, Any]:
    handler = {"type": "command", "command": command, **more}
    return {event: [{"matcher": matcher, "hooks": [handler]}]}


def answers(model: ScriptedModel) -> list[str]:
    return [m.content for m in model.requests[-1].messages if m.role == "tool"]


# --- before a tool --------------------------------------------------------------------------------


async def test_exit_status_2_refuses_a_call_with_what_stands_on_stderr(run: Runner) -> None:
    hooks = on("PreToolUse", "echo 'not today' >&2; exit 2", "Read")
    report, model, sink = await run(*READING, hooks=hooks)
    (answer,) = answers(model)
    assert "not today" in answer
    assert "alpha" not in answer
    assert report.success_count == 1
    assert sink.of("security.denied")[0]["tool"] == "read_file"
    decided = sink.of("tool.decided")[0]
    assert (decided["decision"], decided["decided_by"]) == ("deny", "policy")
    assert decided["decision_rule"] == "hook PreToolUse"


async def test_a_hook_that_matches_another_tool_does_not_run(run: Runner, place: Path) -> None:
    _, model, sink = await run(*READING, hooks=on("PreToolUse", "exit 2", "Bash|Write"))
    assert "alpha" in answers(model)[0]
    assert not [each for each in sink.of("tool.requested") if each.get("op") == "run_hook"]


async def test_a_command_is_told_the_call_in_words_that_programs_share(
    run: Runner, place: Path
) -> None:
    hooks = on("PreToolUse", "cat >&2; exit 2", "read_file")
    _, model, _ = await run(*READING, hooks=hooks)
    text = answers(model)[0]
    told = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert told["hook_event_name"] == "PreToolUse"
    assert told["tool_name"] == "Read"
    assert told["tool_input"] == {"path": "a.txt", "file_path": str(place / "a.txt")}
    assert told["cwd"] == str(place)
    assert told["session_id"]


def decision(verdict: str, reason: str = "because") -> str:
    specific = {"hookEventName": "PreToolUse", "permissionDecision": verdict}
    specific["permissionDecisionReason"] = reason
    return f"echo '{json.dumps({'hookSpecificOutput': specific})}'"


async def test_json_can_deny(run: Runner) -> None:
    _, model, _ = await run(*READING, hooks=on("PreToolUse", decision("deny")))
    assert "because" in answers(model)[0]


async def test_json_can_have_somebody_asked(run: Runner) -> None:
    yes = Yes()
    hooks = on("PreToolUse", decision("ask", "look at it"))
    _, model, _ = await run(*READING, hooks=hooks, approver=yes)
    assert "look at it" in yes.questions[0].reason
    assert "alpha" in answers(model)[0]
    _, model, _ = await run(*READING, hooks=hooks)
    assert "nobody can be asked" in answers(model)[0]


async def test_json_that_allows_never_widens(run: Runner) -> None:
    hooks = on("PreToolUse", decision("allow"))
    narrow = {"mcp": ["read_file"], "fs": {"read": ["src"]}}
    _, model, sink = await run(*READING, hooks=hooks, tools=narrow)
    assert "not allowed" in answers(model)[0]
    assert not [each for each in sink.of("tool.requested") if each.get("op") == "run_hook"]


@pytest.mark.parametrize("command", ["exit 1", "echo '{broken'", "sleep 30"])
async def test_an_operators_hook_that_fails_refuses_the_call(run: Runner, command: str) -> None:
    timeout = 0.2 if "sleep" in command else 20
    hooks = on("PreToolUse", command, timeout=timeout)
    _, model, sink = await run(*READING, hooks=hooks)
    assert "did not work" in answers(model)[0]
    ended = [each for each in sink.of("tool.ended") if each.get("tool_type") == "hook"]
    assert ended[0]["status"] == "error"


async def test_an_operator_may_let_calls_go_on_when_a_hook_fails(run: Runner) -> None:
    lines: list[str] = []
    hooks = {**on("PreToolUse", "exit 1"), "on_failure": "tell"}
    _, model, _ = await run(*READING, hooks=hooks, on_line=lambda _, line: lines.append(line))
    assert "alpha" in answers(model)[0]
    assert "did not work" in "".join(lines)


async def test_hooks_are_recorded_as_steps_of_their_agent(run: Runner) -> None:
    _, _, sink = await run(*READING, hooks=on("PreToolUse", "true"))
    asked = [each for each in sink.of("tool.requested") if each.get("op") == "run_hook"]
    ended = [each for each in sink.of("tool.ended") if each.get("op") == "run_hook"]
    assert [each["step"] for each in asked] == [each["step"] for each in ended]
    assert asked[0]["attrs"] == {
        "source": "the settings table [hooks]",
        "command": "true",
        "own": True,
        "for_step": 1,
        "failure_blocks": True,
    }
    assert asked[0]["step_kind"] == "idempotent"


async def test_commands_may_not_write_nor_connect_unless_the_operator_says_so(
    run: Runner, sandbox: OpenSandbox, place: Path
) -> None:
    tools = {"mcp": ["read_file", "write_file"], "fs": {"read": True, "write": True}}
    hooks = on("SubagentStart", "true") | on("Stop", "true")
    await run("done", hooks=hooks, tools=tools)
    await run("done", hooks=hooks | {"write": True}, tools=tools)
    held, writing = sandbox.held
    assert writing.writable == (place,)
    assert held.writable == ()
    assert held.readable == (place,)
    assert held.judge is None
    assert held.environment["CLAUDE_PROJECT_DIR"] == str(place)
    assert "SASHIZU_HOME" not in held.environment


async def test_without_a_sandbox_no_command_runs_and_calls_are_refused(
    place: Path, run: Runner, sandbox: OpenSandbox
) -> None:
    sandbox.info = SandboxInfo("open", "none", "nothing works here")
    _, model, _ = await run(*READING, hooks=on("PreToolUse", "true"))
    assert "nothing works here" in answers(model)[0]
    assert sandbox.held == []


# --- other moments --------------------------------------------------------------------------------


async def test_what_follows_a_tool_can_object(run: Runner) -> None:
    hooks = on("PostToolUse", "grep -q alpha && echo 'lint it' >&2 && exit 2", "Read")
    _, model, _ = await run(*READING, hooks=hooks)
    assert "alpha" in answers(model)[0]
    assert "lint it" in answers(model)[0]


async def test_a_hook_can_refuse_a_task(run: Runner) -> None:
    hooks = on("UserPromptSubmit", "grep -q work && echo 'no work' >&2 && exit 2")
    report, model, _ = await run("done", hooks=hooks)
    assert report.results[0].outcome is Outcome.FAILED
    assert "no work" in report.results[0].error
    assert model.requests == []


async def test_what_a_hook_says_at_the_beginning_is_told_with_the_task(run: Runner) -> None:
    hooks = on("SessionStart", "echo 'it is Monday'", "startup")
    _, model, _ = await run("done", hooks=hooks)
    task = model.requests[0].messages[1].content
    assert task.startswith("work")
    assert "it is Monday" in task


async def test_a_hook_keeps_an_agent_from_ending_a_few_times(run: Runner, place: Path) -> None:
    command = "grep -q '\"stop_hook_active\": true' || { echo 'test it' >&2; exit 2; }"
    report, model, _ = await run("done", "tested", hooks=on("Stop", command))
    assert report.results[0].answer == "tested"
    assert "test it" in model.requests[-1].messages[-1].content
    stubborn = on("Stop", "echo again >&2; exit 2")
    report, model, _ = await run("1", "2", "3", "4", "5", hooks=stubborn)
    assert report.results[0].answer == "4"
    assert report.success_count == 1


async def test_agents_that_agents_start_have_events_of_their_own(run: Runner, place: Path) -> None:
    boss = {"mcp": ["delegate"], "fs": {"read": True}}
    hooks = (
        on("SubagentStart", "echo 'you are small'", "helper")
        | on("SubagentStop", "true", "somebody else")
        | on("Stop", "true")
    )
    script: Any = lambda request: (  # noqa: E731
        "helped"
        if "small" in request.messages[1].content
        else "done"
        if request.messages[-1].role == "tool"
        else [call("delegate", agent="helper", goal="help")]
    )
    model, sink = ScriptedModel(script), MemorySink()
    shared = {"goal": "work", "model": model.info.name}
    boss_agent = {"name": "boss", **shared, "tools": boss, "spawn": {"agents": ["helper"]}}
    helper = {"name": "helper", **shared, "tools": READ}
    sandbox = OpenSandbox()
    with anyio.fail_after(30):
        report = await delegate_parallel(
            [Task("boss", "work")],
            workspace=place,
            agents=[AgentDefinition.model_validate(each) for each in (boss_agent, helper)],
            settings=Settings({"hooks": hooks}),
            registry=Registry(
                models={model.info.name: scripted_model(model)},
                tools={spec.name: spec for spec in builtin.register_tools(Settings())},
                sandboxes={"open": sandbox_spec(sandbox)},
            ),
            sinks=[sink],
            audit=False,
        )
    assert report.results[0].answer == "done"
    asked = [each for each in sink.of("tool.requested") if each.get("op") == "run_hook"]
    assert [(each["tool"], each["agent_name"]) for each in asked] == [
        ("SubagentStart", "helper"),
        ("Stop", "boss"),
    ]


# --- where they come from -------------------------------------------------------------------------


def write(file: Path, data: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return file


def trust_all(place: Path) -> None:
    TrustStore().trust(place, {each.path: each.sha256 for each in brought_reactions(place)})


REFUSING = {"hooks": on("PreToolUse", "echo 'says the repository' >&2; exit 2")}


async def test_hooks_of_a_repository_run_only_once_they_are_trusted(
    run: Runner, place: Path
) -> None:
    write(place / ".claude/settings.json", {"model": "opus", **REFUSING})
    report, model, _ = await run(*READING)
    assert "alpha" in answers(model)[0]
    assert "sashizu trust" in report.warnings[0]
    trust_all(place)
    report, model, _ = await run(*READING)
    assert "says the repository" in answers(model)[0]
    assert report.warnings == ()
    _, model, _ = await run(*READING, hooks={"repository": False})
    assert "alpha" in answers(model)[0]


async def test_a_repositorys_hook_that_fails_stops_nothing(run: Runner, place: Path) -> None:
    write(place / ".codex/hooks.json", {"hooks": on("PreToolUse", "exit 1")})
    trust_all(place)
    _, model, _ = await run(*READING)
    assert "alpha" in answers(model)[0]


@pytest.mark.parametrize("changed", [".claude/settings.json", ".claude/hooks/check.sh"])
def test_a_changed_hook_or_program_needs_trust_again(place: Path, changed: str) -> None:
    write(place / ".claude/settings.json", REFUSING)
    write(place / ".claude/hooks/check.sh", "exit 0")
    trust_all(place)
    assert len(load_book(HooksSettings(), place).reactions) == 1
    with (place / changed).open("a") as file:
        file.write(" ")
    book = load_book(HooksSettings(), place)
    assert book.reactions == ()
    assert ".claude/settings.json" in book.notes[0]


def test_hooks_are_read_from_every_place(place: Path, config: Path) -> None:
    write(config / "hooks.json", REFUSING)
    write(place / ".sashizu/hooks.json", REFUSING)
    write(place / ".codex/hooks.json", REFUSING)
    toml = '[[hooks.Stop]]\n[[hooks.Stop.hooks]]\ntype = "command"\ncommand = "true"\n'
    write(place / ".codex/config.toml", f'model = "x"\n{toml}')
    trust_all(place)
    settings = HooksSettings.model_validate(on("Stop", "true"))
    found = [(each.source, each.own) for each in load_book(settings, place).reactions]
    assert found == [
        ("the settings table [hooks]", True),
        (str(config / "hooks.json"), True),
        (".sashizu/hooks.json", False),
        (".codex/hooks.json", False),
        (".codex/config.toml", False),
    ]


def test_an_operators_broken_file_stops_the_run(place: Path, config: Path) -> None:
    write(config / "hooks.json", "{")
    with pytest.raises(ConfigError, match="is no JSON"):
        load_book(HooksSettings(), place)


def test_a_repositorys_broken_file_is_told(place: Path) -> None:
    write(place / ".claude/settings.json", "{")
    book = load_book(HooksSettings(), place)
    assert "is no JSON" in book.notes[0]


def test_settings_say_where_a_hook_is_wrong(place: Path, config: Path) -> None:
    write(config / "sashizu.toml", '[[hooks.PreToolUse]]\nmatcher = "("\nhooks = []\n')
    with pytest.raises(ConfigError, match="matcher"):
        load_settings(place, config=config, env={}, plugin_names=())
    write(config / "sashizu.toml", "[[hooks.PreTool]]\nhooks = []\n")
    with pytest.raises(ConfigError, match="did you mean 'PreToolUse'"):
        load_settings(place, config=config, env={}, plugin_names=())


def test_a_repositorys_settings_cannot_name_hooks(place: Path, config: Path) -> None:
    write(place / "sashizu.toml", '[hooks]\non_failure = "tell"\n')
    with pytest.raises(ConfigError, match="may not be set by a project"):
        load_settings(place, config=config, env={}, plugin_names=())


def test_what_does_not_run_here_is_told_and_hides_no_other() -> None:
    good = {"type": "command", "command": "true"}
    hooks = {
        "PreCompact": [{"hooks": [good]}],
        "Stop": [
            {"hooks": [{"type": "prompt", "prompt": "?"}, good, {**good, "async": True}]},
            {"matcher": "(", "hooks": [good]},
            7,
        ],
    }
    found, problems = reactions_of(hooks, "f.json", own=False)
    assert [each.command for each in found] == ["true"]
    assert len(problems) == 5
    assert "PreCompact" in problems[0]
    assert reactions_of([], "f.json", own=True)[1] == ("f.json: 'hooks' is no table of events",)


# --- understanding --------------------------------------------------------------------------------


def reaction(event: Any = "PreToolUse", matcher: str = "", *, own: bool = True) -> Reaction:
    return Reaction(event, matcher, "true", 1, "here", own)


@pytest.mark.parametrize(
    ("matcher", "tool", "expected"),
    [
        ("", "shell", True),
        ("*", "shell", True),
        ("Bash", "shell", True),
        ("Edit|Write", "apply_patch", True),
        ("Edit|Write", "read_file", False),
        ("Rea", "read_file", False),
        ("mcp__github__.*", "github/search", True),
        ("github/.*", "github/search", True),
    ],
)
def test_matchers_know_tools_by_all_their_names(matcher: str, tool: str, expected: bool) -> None:
    assert reaction(matcher=matcher).matches(tool_names(tool)) is expected


def test_a_patch_and_a_command_are_told_as_others_tell_them(tmp_path: Path) -> None:
    patch = tool_input(ToolCall("1", "apply_patch", '{"patch": "*** Begin"}'), tmp_path)
    assert patch["command"] == "*** Begin"
    shell = tool_input(ToolCall("1", "shell", '{"argv": ["ls", "-l"]}'), tmp_path)
    assert shell["command"] == "ls -l"
    assert tool_input(ToolCall("1", "shell", "[1"), tmp_path) == {}


@given(
    event=st.sampled_from(EVENTS),
    status=st.integers(-20, 260),
    out=st.text(max_size=50)
    | st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(
                ["continue", "decision", "reason", "hookSpecificOutput", "permissionDecision"]
            ),
            inner | st.sampled_from(["allow", "deny", "block", "ask", "approve"]),
        ),
        max_leaves=8,
    ).map(json.dumps),
    err=st.text(max_size=20),
    own=st.booleans(),
    failure_blocks=st.booleans(),
)
def test_no_answer_ever_allows(
    event: Any, status: int, out: str, err: str, own: bool, failure_blocks: bool
) -> None:
    each = reaction(event, own=own)
    said = read_said(each, status, out, err)
    assert said.verdict in ("none", "ask", "block", "failed")
    assert (said.verdict == "block") or status != 2
    assert said.verdict != "none" or status == 0
    found = heard([(each, Said("block", "no")), (each, said)], failure_blocks=failure_blocks)
    assert (found.verdict, found.reason) == ("block", "no")


def test_who_wants_an_agent_to_end_does_not_keep_it() -> None:
    text = json.dumps({"continue": False, "decision": "block", "stopReason": "enough"})
    assert read_said(reaction("Stop"), 0, text, "").verdict == "none"
    assert read_said(reaction("UserPromptSubmit"), 0, text, "").verdict == "block"


def test_a_matcher_takes_no_time_whatever_it_says() -> None:
    each = reaction(matcher="(a|a?)+b")
    assert not each.matches(["a" * 5000])
