"""The operator's ceiling and rules: read with their examples, and above every agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.grants import Grants, PathRequest, Rule, Subject
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.permissions import authorize, grants_sha256, narrow
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate
from sashizu_core.settings import Settings, load_settings
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.types import ModelInfo, Task


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The user's settings file."""
    return tmp_path / "sashizu.toml"


def load(file: Path, text: str, *overrides: str) -> Settings:
    file.write_text(text)
    project = file.parent / "project"
    project.mkdir(exist_ok=True)
    return load_settings(project, overrides=overrides, config=file.parent, env={}, plugin_names=())


CEILING = """\
[policy.ceiling.tools]
mcp = ["read_file", "server/tool"]
devices = ["gpu0"]
fs.read = true
fs.write = ["docs", "/var/reports"]
net.allow = ["*.example.org"]
shell.exec = ["git log"]

[policy.ceiling.spawn]
agents = ["helper"]
"""


# --- reading --------------------------------------------------------------------------------------


def test_a_ceiling_has_the_shape_of_an_agents_permissions(file: Path) -> None:
    policy = load(file, CEILING).policy
    assert policy == OperatorPolicy(
        tools=frozenset({"read_file", "server/tool"}),
        fs_read=(".",),
        fs_write=("docs", "/var/reports"),
        net=("*.example.org",),
        exec=("git log",),
        spawn=frozenset({"helper"}),
        devices=frozenset({"gpu0"}),
        source=f"the operator's policy, {file}",
    )


def test_without_a_policy_nothing_is_bounded(file: Path) -> None:
    policy = load(file, "").policy
    assert policy == OperatorPolicy()
    assert policy.ceilings(Grants(fs_read=(".",))) == ()


def test_a_rule_knows_its_file_and_line(file: Path) -> None:
    rules = '[run]\njobs = 2\n\n[[policy.rule]]\nverdict = "deny"\ntouches = "write"\n'
    rules += 'pattern = "docs"\nreason = "ours"\n\n'
    rules += '[[policy.rule]]\npattern = "git push"\ntouches = "exec"\nverdict = "ask"\n'
    first, second = load(file, rules).policy.rules
    assert (first, first.reason, first.source) == (
        Rule("deny", "write", "docs"),
        "ours",
        f"{file}:4",
    )
    assert (second, second.source) == (Rule("ask", "exec", "git push"), f"{file}:10")


RULE = '[[policy.rule]]\nverdict = "deny"\ntouches = "{}"\npattern = "{}"\n'


@pytest.mark.parametrize(
    ("touches", "pattern", "match", "not_match"),
    [
        ("read", "private", "private/a", "public/private"),
        ("write", "docs/legal", "docs/LEGAL/x", "docs"),
        ("exec", "git push", "git -C x push origin", "git log push"),
        ("net", "evil.test", "http://evil.test:8080/x", "https://evil.test.ok.example/"),
        ("tool", "server/*", "server/tool", "other/tool"),
        ("spawn", "python-reviewer", "Python Reviewer", "reviewer"),
        ("device", "gpu0", "GPU0", "gpu01"),
    ],
)
def test_examples_are_tried_when_settings_are_read(
    file: Path, touches: str, pattern: str, match: str, not_match: str
) -> None:
    rule = RULE.format(touches, pattern)
    load(file, f'{rule}match = ["{match}"]\nnot_match = ["{not_match}"]\n')
    with pytest.raises(ConfigError) as caught:
        load(file, f'{rule}match = ["{not_match}"]\n')
    assert str(caught.value).startswith(f"{file}:5:1: 'policy.rule[1].match': the rule ")
    assert "does not match the example" in str(caught.value)
    assert isinstance(caught.value, UsageError)
    with pytest.raises(ConfigError, match=r"sashizu\.toml:6:1: .* matches the example"):
        load(file, f'{rule}match = []\nnot_match = ["{match}"]\n')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (RULE.format("net", "evil.test/x"), ":4:1: 'policy.rule[1].pattern': "),
        (RULE.format("read", "../x"), ":4:1: 'policy.rule[1].pattern': "),
        (RULE.format("reads", "x"), ":3:1: 'policy.rule[1].touches': "),
        (RULE.format("read", "x").replace("deny", "allow"), ":2:1: 'policy.rule[1].verdict': "),
        (RULE.format("net", "a.test") + 'match = ["a.test"]\n', "is not a URL such as"),
        (RULE.format("read", "x") + 'matches = ["x"]\n', "did you mean 'match'?"),
        ("[policy.ceiling.tools.net]\nallow = ['a.*.b']\n", ":2:1: "),
        ("[policy.ceiling.tools.fs]\nread = ['src/*']\n", "is no path"),
        ("[policy.ceiling.tools.fs]\nwirte = []\n", "did you mean 'write'?"),
        ("[policy.ceiling.tools.shell]\nexec = ['']\n", "a command is empty"),
        ("[policy]\nrules = []\n", "did you mean 'rule'?"),
    ],
)
def test_a_mistake_in_a_policy_is_told_with_its_place(file: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    assert str(file) in str(caught.value)
    assert told in str(caught.value)


def test_a_project_can_neither_set_nor_change_a_policy(file: Path) -> None:
    load(file, "")
    project = file.parent / "project" / "sashizu.toml"
    for text in (CEILING, RULE.format("read", "x"), "[policy]\nrule = []\n"):
        project.write_text(text)
        with pytest.raises(ConfigError, match="may not be set by a project"):
            load(file, CEILING)


def test_every_setting_can_be_listed_with_a_policy(file: Path) -> None:
    settings = load(file, CEILING + RULE.format("read", "x"))
    found = {setting.key: setting.value for setting in settings}
    assert found["policy.ceiling.tools.fs.write"] == ["docs", "/var/reports"]
    assert "policy.ceiling" not in found
    assert found["policy.rule"] == [{"verdict": "deny", "touches": "read", "pattern": "x"}]


# --- above every agent ----------------------------------------------------------------------------

PATHS = st.sampled_from([".", "src", "src/a", "docs", "docs/b", ".env"])
GRANTS = st.builds(
    Grants,
    tools=st.none(),
    fs_read=st.lists(PATHS, max_size=2).map(tuple),
    fs_write=st.lists(PATHS, max_size=2).map(tuple),
)
BOUNDS = st.none() | st.lists(PATHS, max_size=2).map(tuple)
REQUESTS = st.builds(PathRequest, PATHS, st.sampled_from(["read", "write"]))


@given(GRANTS, BOUNDS, BOUNDS, REQUESTS)
def test_a_policy_only_takes_away_and_what_it_does_not_name_stays(
    own: Grants,
    read: tuple[str, ...] | None,
    write: tuple[str, ...] | None,
    request_: PathRequest,
) -> None:
    def allowed(*chain: Grants) -> bool:
        return authorize([request_], Subject("id", "agent", chain)).allowed

    policy = OperatorPolicy(fs_read=read, fs_write=write)
    before = allowed(own)
    after = allowed(*narrow(policy.ceilings(own), own))
    assert before or not after
    bound = read if request_.access == "read" else write
    if bound is None:
        assert after == before
    else:
        assert after == (before and allowed(Grants(tools=None, fs_read=bound, fs_write=bound)))


def world(place: Path, sink: MemorySink, *script: Any) -> dict[str, Any]:
    info = ModelInfo("fake/m", "fake", local=True, min_output_tokens=16)
    model = ScriptedModel([*script, "done"], info=info)
    return {
        "workspace": place,
        "registry": Registry(
            models={info.name: scripted_model(model)},
            tools={spec.name: spec for spec in builtin.register_tools(Settings())},
        ),
        "model": info.name,
        "sinks": [sink],
        "audit": False,
    }


AGENT = AgentDefinition.model_validate(
    {
        "name": "agent",
        "goal": "Look.",
        "tools": {"mcp": ["read_file", "write_file"], "fs": {"read": True, "write": True}},
        "artifacts": ["report.md"],
    }
)


def attrs(fields: Any) -> dict[str, Any]:
    found = fields["attrs"]
    assert isinstance(found, dict)
    return found


async def run(file: Path, text: str, *script: Any, agent: AgentDefinition = AGENT) -> MemorySink:
    sink = MemorySink()
    options = world(file.parent / "project", sink, *script)
    settings = load(file, text)
    with anyio.fail_after(20):
        await delegate(Task("agent"), agents=[agent], settings=settings, **options)
    return sink


async def test_every_run_stays_under_the_operators_ceiling(file: Path) -> None:
    text = "[policy.ceiling.tools.fs]\nwrite = ['docs']\n" + RULE.format("read", "private")
    (file.parent / "project" / "private").mkdir(parents=True)
    sink = await run(
        file,
        text,
        [call("write_file", path="docs/a", content="x")],
        [call("write_file", path="src/a", content="x")],
        [call("read_file", path="private/a")],
    )
    decided = sink.of("tool.decided")
    assert [fields["decision"] for fields in decided] == ["allow", "deny", "deny"]
    assert decided[2]["decision_rule"] == "deny read: private"
    project = file.parent / "project"
    assert (project / "docs" / "a").exists()
    assert not (project / "src").exists()
    (started,) = sink.of("agent.started")
    folder, docs = attrs(started)["fs_write"]
    assert (folder.startswith(".sashizu/runs/"), docs) == (True, "docs")


async def test_a_tool_that_the_ceiling_leaves_nothing_to_does_not_exist(file: Path) -> None:
    for text in (
        "[policy.ceiling.tools]\nmcp = ['read_file']\n",
        "[policy.ceiling.tools]\nmcp = ['read_file']\n[policy.ceiling.tools.fs]\nwrite = []\n",
    ):
        sink = await run(file, text, [call("write_file", path="a", content="x")])
        (started,) = sink.of("agent.started")
        assert attrs(started)["tools"] == ["read_file"]
        assert attrs(started)["absent"] == {"write_file": "the operator's policy does not allow it"}
        assert sink.of("tool.ended")[0]["error_type"] == "unknown_tool"


async def test_the_record_fingerprints_the_operators_policy_too(file: Path) -> None:
    chain = (Grants(fs_read=(".",)),)
    ceiling = OperatorPolicy(rules=(Rule("deny", "read", "x"),)).ceilings(chain[0])
    assert grants_sha256((*ceiling, *chain)) != grants_sha256(chain)
    found = {
        grants_sha256(OperatorPolicy(devices=frozenset(names)).ceilings(chain[0]))
        for names in ((), ("gpu0",), ("gpu1",))
    }
    assert len(found) == 3
    plain = AGENT.model_copy(update={"artifacts": ()})
    policies = ("", CEILING, RULE.format("read", "x"), RULE.format("read", "y"))
    prints = []
    for text in (*policies, *policies):
        sink = await run(file, text, agent=plain)
        prints.append(sink.of("agent.started")[0]["policy_sha256"])
    assert len(set(prints)) == len(policies)
    assert prints[:4] == prints[4:]


# --- whoever administers the machine --------------------------------------------------------------


def administered(tmp_path: Path, text: str, *overrides: str) -> Settings:
    admin = tmp_path / "admin"
    admin.mkdir()
    (admin / "sashizu.toml").write_text(text)
    user = tmp_path / "user"
    user.mkdir()
    return load_settings(
        tmp_path, overrides=overrides, config=user, env={}, plugin_names=(), admin=admin
    )


def test_what_the_administrator_bounds_no_flag_widens(tmp_path: Path) -> None:
    text = '[policy.ceiling.tools]\nfs.write = ["docs"]\n'
    settings = administered(tmp_path, text, "policy.ceiling.tools.fs.write=true")
    own = Grants(fs_write=(".",))
    chain = narrow(settings.policy.ceilings(own), own)
    may = {
        path: authorize([PathRequest(path, "write")], Subject("id", "a", chain)).allowed
        for path in ("docs/a", "src/a")
    }
    assert may == {"docs/a": True, "src/a": False}
    assert "admin" in chain[0].source


def test_the_administrator_alone_is_a_level_too(tmp_path: Path) -> None:
    text = '[[policy.rule]]\nverdict = "deny"\ntouches = "read"\npattern = "private"\n'
    settings = administered(tmp_path, text)
    own = Grants(fs_read=(".",))
    subject = Subject("id", "a", narrow(settings.policy.ceilings(own), own))
    assert not authorize([PathRequest("private/a", "read")], subject).allowed
    assert authorize([PathRequest("a", "read")], subject).allowed


def test_the_administrators_file_holds_a_policy_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"admin.sashizu.toml:1:1"):
        administered(tmp_path, '[run]\nmodel = "x"\n')
