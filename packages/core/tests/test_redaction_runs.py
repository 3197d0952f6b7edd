"""Runs in which secrets turn up everywhere: none of them leaves."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
import sashizu_core
from sashizu_core import control
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.errors import ConfigError, ModelError, SashizuError
from sashizu_core.plugins import Registry
from sashizu_core.redaction import Redactor
from sashizu_core.runtime import delegate_parallel
from sashizu_core.runtime.redacting import redacted_error, run_redactor
from sashizu_core.settings import Settings, load_settings
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, call, scripted_model
from sashizu_core.types import Message, ModelInfo, RunReport, Task, ToolCall

ENV_KEY = "own-key-of-the-operator-0123456789"
MODEL_KEY = "key-of-a-configured-model-987654321"
TOKEN = "ghp" + "_" + "a1B2" * 9
PASSWORD = "Tr0ub4dor3xyz"
SECRETS = (ENV_KEY, MODEL_KEY, TOKEN, PASSWORD)
FILE = f"key = {ENV_KEY}\nother = {MODEL_KEY}\ntoken {TOKEN}\npassword = '{PASSWORD}'\n"

READ: Mapping[str, Any] = {"mcp": ["read_file"], "fs": {"read": True}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", ENV_KEY)
    return tmp_path / "home"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "settings.ini").write_text(FILE, "utf-8")
    return folder


class Leaky:
    """One agent with a scripted model that was configured with a key."""

    def __init__(self, place: Path, script: Script, *, latency_s: float = 0.0, **more: Any) -> None:
        info = ModelInfo("fake/leaky", "fake", local=True, min_output_tokens=16)
        self.model = ScriptedModel(script, info=info, latency_s=latency_s)
        spec = scripted_model(self.model)
        self.spec = ModelSpec(spec.name, spec.summary, spec.open, (MODEL_KEY,))
        self.agent = AgentDefinition.model_validate(
            {"name": "leaky", "goal": "Tell.", "model": info.name, "tools": READ, **more}
        )
        self.place = place
        self.sink = MemorySink()
        self.heard: list[str] = []

    async def run(self, **options: Any) -> RunReport:
        tools = {spec.name: spec for spec in builtin.register_tools(Settings())}
        with anyio.fail_after(20):
            return await delegate_parallel(
                [Task("leaky", goal=f"Log in with password={PASSWORD} and tell.")],
                workspace=self.place,
                agents=[self.agent],
                settings=options.pop("settings", Settings()),
                registry=Registry(models={"fake/leaky": self.spec}, tools=tools),
                sinks=[self.sink],
                audit=False,
                on_text=lambda _, text: self.heard.append(text),
                **options,
            )

    def everything(self, report: RunReport, home: Path) -> str:
        """All that left the run, as text."""
        events = json.dumps([[e.kind, e.fields] for e in self.sink.events], default=str)
        files = [path.read_text("utf-8") for path in home.rglob("*") if path.is_file()]
        return "\n".join([events, json.dumps(asdict(report), default=str), *self.heard, *files])


SAYS = f"The key is {ENV_KEY}, the token {TOKEN}, and password = '{PASSWORD}'; {MODEL_KEY}."


async def test_nothing_that_leaves_a_run_holds_a_secret(home: Path, place: Path) -> None:
    leaky = Leaky(
        place,
        [
            [call("read_file", path="settings.ini")],
            [ToolCall("c1", "read_file", json.dumps({"path": f"{ENV_KEY}/{TOKEN}"}))],
            [ToolCall(f"call-{TOKEN}", f"no_tool_{ENV_KEY}", json.dumps({"password": PASSWORD}))],
            SAYS,
        ],
        policies={"context": {"retention": "session"}},
    )
    report = await leaky.run()
    told = leaky.everything(report, home)
    for secret in SECRETS:
        assert secret not in told
    assert report.results[0].answer.startswith("The key is [redacted:known:")
    assert leaky.heard


async def test_marks_of_one_secret_are_equal_in_events_reports_and_streams(
    home: Path, place: Path
) -> None:
    leaky = Leaky(place, [[call(f"no-{TOKEN}")], f"It is {TOKEN} ."])
    report = await leaky.run()
    mark = report.results[0].answer.removeprefix("It is ").removesuffix(" .")
    assert mark.startswith("[redacted:github-token:")
    assert mark in str(leaky.sink.of("tool.requested")[0]["tool"])
    assert mark in "".join(leaky.heard)


async def test_digests_are_over_the_text_without_secrets(home: Path, place: Path) -> None:
    leaky = Leaky(place, [[call("read_file", path="settings.ini")], "done"])
    await leaky.run()
    (ended,) = leaky.sink.of("tool.ended")
    shown = leaky.model.requests[-1].messages[-1].content
    assert TOKEN in shown, "this agent's model may see what it reads"
    for text in (FILE, shown):
        assert ended["result_sha256"] != sha256(text.encode()).hexdigest()
    assert ended["redactions"] == 4


async def test_a_model_never_sees_keys_of_ours(home: Path, place: Path) -> None:
    leaky = Leaky(place, [[call("read_file", path="settings.ini")], "done"])
    await leaky.run()
    shown = leaky.model.requests[-1].messages[-1].content
    assert ENV_KEY not in shown
    assert MODEL_KEY not in shown
    assert "password = 'Tr0ub4dor3xyz'" in shown


async def test_an_agent_with_redact_reads_files_without_secrets(home: Path, place: Path) -> None:
    policies = {"secrets": {"redact": True}}
    leaky = Leaky(place, [[call("read_file", path="settings.ini")], "done"], policies=policies)
    await leaky.run()
    shown = leaky.model.requests[-1].messages[-1].content
    for secret in SECRETS:
        assert secret not in shown
    assert "password = '[redacted:assigned:" in shown


async def test_patterns_and_variables_of_the_operator_count(
    home: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORP_PLACE", "what-only-we-know")
    own = {"secrets": {"redact": ["ACME-[0-9]{6}"], "variables": ["CORP_*"]}}
    leaky = Leaky(place, ["It is ACME-123456, what-only-we-know."])
    report = await leaky.run(settings=Settings(own))
    answer = report.results[0].answer
    assert "[redacted:configured:" in answer
    assert "[redacted:known:" in answer
    assert "123456" not in answer
    assert "what-only" not in answer


async def test_errors_of_models_and_tools_are_told_without_secrets(home: Path, place: Path) -> None:
    fault = ModelError(f"the service said: {TOKEN} is no {MODEL_KEY}", fault="auth")
    leaky = Leaky(place, [fault])
    report = await leaky.run()
    told = leaky.everything(report, home)
    assert report.results[0].error.startswith("auth: the service said: [redacted:github-token:")
    for secret in SECRETS:
        assert secret not in told


async def test_errors_that_end_a_run_are_raised_without_secrets(home: Path, place: Path) -> None:
    class Refusing(MemorySink):
        def write(self, events: object) -> None:
            raise SashizuError(f"cannot write {ENV_KEY}") from ValueError(f"because of {TOKEN}")

    leaky = Leaky(place, ["x"])
    leaky.sink = Refusing()
    with pytest.raises(SashizuError) as caught:
        await leaky.run()
    assert "[redacted:known:" in str(caught.value)
    assert ENV_KEY not in str(caught.value)
    assert TOKEN not in str(caught.value.__cause__)


async def test_the_control_socket_tells_no_secret(home: Path, place: Path) -> None:
    told: list[str] = []

    def answer(_: object) -> Any:  # until somebody has heard of it, or the turns are used up
        return SAYS if len(told) > 4 else [ToolCall("c", f"tool_{ENV_KEY}", json.dumps(SAYS))]

    leaky = Leaky(place, answer, latency_s=0.02)

    async def listen(run_id: str) -> None:
        told.append(json.dumps(dict(await control.status(run_id)), default=str))
        async for event in control.events(run_id):
            told.append(json.dumps(dict(event), default=str))  # noqa: PERF401 - the model looks

    async with anyio.create_task_group() as group:
        report = await leaky.run(on_start=lambda run: group.start_soon(listen, run.run_id))
    assert report.results[0].ok
    assert len(told) > 4
    for secret in SECRETS:
        assert secret not in "".join(told)


async def test_a_conversation_goes_on_from_what_was_kept(home: Path, place: Path) -> None:
    kept = {"context": {"retention": "session"}}
    first = Leaky(place, [[call("read_file", path="settings.ini")], SAYS], policies=kept)
    report = await first.run()
    second = Leaky(place, ["and more"], policies=kept)
    await second.run(continue_conversation=report.results[0].conversation_id)
    history = "\n".join(m.content for m in second.model.requests[0].messages[:-1])
    assert "[redacted:known:" in history
    for secret in SECRETS:
        assert secret not in history


def test_names_of_variables_decide_which_values_are_secret() -> None:
    env = {"MY_TOKEN": "value-of-token", "EDITOR": "value-of-editor"}
    redactor = run_redactor(Settings(), Registry(), env)
    assert redactor.text("value-of-editor") == "value-of-editor"
    assert redactor.text("value-of-token") != "value-of-token"


def test_a_repository_cannot_take_evidence_out_of_the_record(tmp_path: Path) -> None:
    (tmp_path / "sashizu.toml").write_text('[secrets]\nredact = ["x{1,9}"]\n', "utf-8")
    with pytest.raises(ConfigError, match="may not be set by a project"):
        load_settings(tmp_path, config=tmp_path / "none", env={})


def test_a_pattern_that_could_take_long_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "sashizu.toml").write_text('[secrets]\nredact = ["(a+)+$"]\n', "utf-8")
    with pytest.raises(ConfigError, match=r"sashizu\.toml:2:.*only for the end"):
        load_settings(tmp_path / "project", config=tmp_path, env={})


def test_errors_that_refer_to_each_other_end() -> None:
    first, second = ValueError(TOKEN), ValueError(TOKEN)
    first.__context__, second.__context__ = second, first
    assert TOKEN not in str(redacted_error(first, Redactor()))
    assert TOKEN not in str(second)


def test_what_a_provider_wants_back_holds_no_secret_when_kept() -> None:
    from sashizu_core.runtime.redacting import redacted_messages

    message = Message("assistant", "", opaque={"p": {"items": [{"text": SAYS, "n": 1}]}})
    (kept,) = redacted_messages([message], Redactor([ENV_KEY, MODEL_KEY]))
    for secret in SECRETS:
        assert secret not in json.dumps(dict(kept.opaque or {}))


def test_events_are_made_in_one_place_only() -> None:
    """What is recorded passes the redactor because nothing else in core makes events.

    Those that another process told are made anew for the display; they passed its redactor.
    """
    makers = set()
    root = Path(sashizu_core.__file__).parent
    for file in root.rglob("*.py"):
        if "testing" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Event":
                makers.add(file.relative_to(root).as_posix())
    assert makers == {"turn/record.py", "runtime/telling.py"}


async def test_who_decides_sees_all_that_is_asked_but_our_keys(home: Path, place: Path) -> None:
    from sashizu_core.approvals import AnsweredElsewhere

    asked = f"{MODEL_KEY}-password=evil0Command"
    leaky = Leaky(place, [[call("read_file", path=asked)], "done"])
    rules = [{"verdict": "ask", "touches": "read", "pattern": "*", "reason": "look at it"}]
    told: list[str] = []

    async def decide(run_id: str) -> None:
        while not (questions := (await control.status(run_id))["questions"]):
            await anyio.lowlevel.checkpoint()
        told.append(json.dumps(questions))
        await control.approve(run_id, questions[0]["id"], "deny")

    async with anyio.create_task_group() as group:
        await leaky.run(
            settings=Settings({"policy": {"rule": rules}}),
            approver=AnsweredElsewhere(),
            on_start=lambda run: group.start_soon(decide, run.run_id),
        )
    assert "-password=evil0Command" in told[0]
    assert MODEL_KEY not in told[0]
