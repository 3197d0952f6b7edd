"""One agent file at a time: YAML, TOML, Markdown."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition, read_agent_file, read_agent_text
from sashizu_core.agents.definition import tool_name
from sashizu_core.agents.foreign import READING_TOOLS
from sashizu_core.errors import ConfigError
from sashizu_core.types import Limits

DATA = Path(__file__).parent / "data" / "agents"
FILE = Path("agent.yaml")


def _read(text: str, name: str = "agent.yaml") -> AgentDefinition:
    return read_agent_text(text, Path(name))[0]


def _warnings(text: str, name: str = "agent.yaml") -> tuple[str, ...]:
    return read_agent_text(text, Path(name))[1]


def _complaint(text: str, name: str = "agent.yaml") -> str:
    with pytest.raises(ConfigError) as caught:
        _read(text, name)
    return str(caught.value)


MINIMAL = "name: a\ngoal: do it\n"

FULL = """\
name: a-1
goal: do it
instructions: |
  first
  second
tools:
  mcp: [codex_grep, read_file, files/search]
  fs:
    read: [./src, "docs/", docs]
    write: true
  net:
    allow: ["https://docs.python.org/*"]
  shell:
    exec: [git]
policies:
  context:
    max_tokens: 40000
success_criteria: [good]
artifacts: [./out/report.md, "out/*.json"]
model: openai/gpt
fallback: offline
budget:
  usd: 2.5
  requests: 40
  seconds: 90
  agents: 9
  warn_at: 0.7
  fallback_at: 0.9
spawn:
  agents: [helper, "repo:other"]
  max: 3
isolation: worktree
output:
  type: object
verify: [pytest -q]
"""


def test_a_name_and_a_goal_are_enough_and_grant_nothing() -> None:
    definition = _read(MINIMAL)
    grants = definition.grants()
    assert grants.tools == frozenset()
    assert grants.fs_read == grants.fs_write == grants.net == grants.exec == ()
    assert grants.spawn == frozenset()
    assert definition.limits() == Limits()


def test_every_field_is_read() -> None:
    definition = _read(FULL)
    assert definition.instructions == "first\nsecond\n"
    assert definition.artifacts == ("out/report.md", "out/*.json")
    assert definition.success_criteria == ("good",)
    assert (definition.model, definition.fallback) == ("openai/gpt", "offline")
    assert definition.isolation == "worktree"
    assert definition.output == {"type": "object"}
    assert definition.verify == ("pytest -q",)
    grants = definition.grants()
    assert grants.tools == {"grep", "read_file", "files/search"}
    assert grants.fs_read == ("src", "docs")
    assert grants.fs_write == (".",)
    assert grants.net == ("https://docs.python.org/*",)
    assert grants.exec == ("git",)
    assert grants.spawn == {"helper", "repo:other"}
    assert (definition.budget.warn_at, definition.budget.fallback_at) == (0.7, 0.9)
    assert _warnings(FULL) == ()


def test_limits_come_from_the_budget_and_tokens_from_the_context_policy() -> None:
    limits = _read(FULL).limits()
    assert limits == Limits(tokens=40000, nusd=2_500_000_000, requests=40, seconds=90.0, agents=4)
    own = FULL.replace("budget:\n", "budget:\n  tokens: 7\n")
    assert _read(own).limits().tokens == 7


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ("gaol: x\n", "3:1", "unknown key 'gaol'; did you mean 'goal'?"),
        ("tools: {fs: {wirte: true}}\n", "3:14", "unknown key 'tools.fs.wirte'; did you mean 'wri"),
        ("budget:\n  token: 5\n", "4:3", "unknown key 'budget.token'; did you mean 'tokens'?"),
        ("budget:\n  tokens: 0\n", "4:3", "'budget.tokens': Input should be greater than or"),
        ("budget:\n  tokens: -1\n", "4:3", "'budget.tokens': Input should be greater"),
        ("budget:\n  tokens: true\n", "4:3", "'budget.tokens': Input should be a valid integer"),
        ("budget:\n  usd: yes\n", "4:3", "'budget.usd': write a number"),
        ("budget:\n  seconds: .inf\n", "4:3", "'budget.seconds': Input should be"),
        ("budget: {warn_at: 80}\n", "3:10", "'budget.warn_at': Input should be less than or equal"),
        ("budget: {warn_at: 0}\n", "3:10", "'budget.warn_at': Input should be greater than 0"),
        ("budget: {fallback_at: 0.9}\n", "3:1", "'budget': 'fallback_at' needs a model to go on"),
        ("engine: codex\nfallback: x\n", "4:1", "'fallback': an agent with an 'engine' has none"),
        ("tools: {mcp: [a b]}\n", "3:15", "'tools.mcp[1]': String should match pattern"),
        ("tools: {mcp: grep}\n", "3:9", "'tools.mcp': Input should be a valid tuple"),
        ("tools: {fs: {read: 1}}\n", "3:14", "'tools.fs.read': write true, false, or a list"),
        ("tools: {fs: {write: [/etc]}}\n", "3:14", "'tools.fs.write': '/etc' leads outside"),
        ("tools: {fs: {write: [a/../..]}}\n", "3:14", "'tools.fs.write': 'a/../..' leads outside"),
        ("tools: {fs: {write: ['~/x']}}\n", "3:14", "'tools.fs.write': '~/x' leads outside"),
        ("tools: {fs: {write: ['C:/x']}}\n", "3:14", "'tools.fs.write': 'C:/x' leads outside"),
        ("tools: {fs: {write: ['src/**']}}\n", "3:14", "'tools.fs.write': 'src/**' is a pattern"),
        ("artifacts: [../x]\n", "3:13", "'artifacts[1]': '../x' leads outside the workspace"),
        ("artifacts: ['a\\b']\n", "3:13", "'artifacts[1]': 'a\\\\b' is no path"),
        ("isolation: a b\n", "3:1", "'isolation': String should match pattern"),
        ("output: {type: .nan}\n", "3:1", "'output': is no JSON Schema"),
        ("output: {default: 2020-01-01}\n", "3:1", "'output': is no JSON Schema"),
        ("spawn: {agents: ['../x']}\n", "3:18", "'spawn.agents[1]': String should match"),
        ("tools:\n", "3:1", "'tools': Input should be"),
        ("? [a]\n: b\n", "3:3", "a key must be text; put it in quotes"),
        ("1: b\n", "3:1", "a key must be text; put it in quotes"),
        ("model: a\nmodel: b\n", "4:1", "the key 'model' is given twice"),
        ("model: &x a\nfallback: *x\n", "4:11", "aliases are not read"),
        ("model: !!python/name:os.system a\n", "3:8", "the tag 'tag:yaml.org,2002:python/name"),
        ("model: !x a\n", "3:8", "the tag '!x' is not read"),
        ("model: [\n", "4:1", "is no YAML:"),
        ("model: 'x\n", "4:1", "is no YAML:"),
        ("---\nname: b\n", "3:1", "holds more than one document"),
        ("model: 2020-99-99\n", "3:8", "cannot be read: month must be in 1..12"),
    ],
)
def test_a_mistake_is_shown_with_file_line_and_column(
    change: str, place: str, message: str
) -> None:
    assert _complaint(MINIMAL + change).startswith(f"agent.yaml:{place}: {message}")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = _complaint("nmae: a\ntools:\n  fs: {raed: true}\n")
    assert text.splitlines() == [
        "agent.yaml:1:1: 'name' is missing",
        "agent.yaml:1:1: 'goal' is missing",
        "agent.yaml:1:1: unknown key 'nmae'; did you mean 'name'?",
        "agent.yaml:3:8: unknown key 'tools.fs.raed'; did you mean 'read'?",
    ]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "--- \n...\n", "null", "- a", "text"])
def test_a_file_without_a_map_is_no_agent(text: str) -> None:
    assert _complaint(text).startswith("agent.yaml:1:1: is ")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "a\\b",
        "",
        ".",
        "..",
        ".hidden",
        "a:b",
        "a,b",
        "a=b",
        "a\n",
        "é",
        "x" * 65,
        "-a",
    ],
)
def test_a_name_is_never_a_path_or_a_separator(name: str) -> None:
    quoted = yaml.safe_dump(name, default_flow_style=True, default_style='"').strip()
    assert "'name': String should match pattern" in _complaint(f"name: {quoted}\ngoal: x\n")


def test_deep_nesting_is_an_error() -> None:
    assert "is nested deeper than 32" in _complaint(MINIMAL + "output: " + "[" * 40 + "]" * 40)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MINIMAL + "#" * 300_000)
    with pytest.raises(ConfigError, match="is larger than 262144 bytes"):
        read_agent_file(file)


def test_a_missing_file_and_an_unknown_ending_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read_agent_file(tmp_path / "a.yaml")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"'.json' is no format of agents; known: .yaml, .yml"):
        read_agent_file(tmp_path / "a.json")


# --- what is accepted with a warning


def test_a_list_under_shell_grants_nothing_and_says_so() -> None:
    text = MINIMAL + "tools:\n  shell: [npm]\n"
    assert _read(text).grants().exec == ()
    (warning,) = _warnings(text)
    assert warning.startswith("agent.yaml:4:3: 'tools.shell' is a list, which allows nothing")
    assert _warnings(MINIMAL + "tools:\n  shell: []\n") == ()


@pytest.mark.parametrize("value", ["{allow: [x]}", "[x]"])
def test_net_under_policies_grants_nothing_and_says_so(value: str) -> None:
    text = MINIMAL + f"policies:\n  net: {value}\n"
    assert _read(text).grants().net == ()
    (warning,) = _warnings(text)
    assert warning.startswith("agent.yaml:4:3: 'policies.net' is not read")


SEVEN = {
    "code-reviewer": ("code-reviewer", 40000),
    "test-gen": ("test-gen", 30000),
    "sec-audit": ("sec-audit", 50000),
    "researcher": ("researcher", 60000),
    "python-reviewer": ("Python Reviewer", 20000),
    "ts-reviewer": ("TypeScript Reviewer", 20000),
    "unity-reviewer": ("Unity Reviewer", 24000),
}


@pytest.mark.parametrize("stem", SEVEN)
def test_older_files_load_with_their_limits_and_grants(stem: str) -> None:
    name, tokens = SEVEN[stem]
    raw: dict[str, Any] = yaml.safe_load((DATA / f"{stem}.yaml").read_text())
    definition = read_agent_file(DATA / f"{stem}.yaml").definition
    assert definition.name == name
    assert definition.limits().tokens == tokens
    grants = definition.grants()
    assert grants.tools == {tool_name(tool) for tool in raw["tools"]["mcp"]}
    assert grants.fs_read == (".",)
    assert grants.fs_write == tuple(p.removeprefix("./") for p in raw["tools"]["fs"]["write"])
    shell = raw["tools"]["shell"]
    assert grants.exec == tuple(shell["exec"] if isinstance(shell, dict) else [])


@pytest.mark.parametrize("stem", [stem for stem in SEVEN if stem.endswith("-reviewer")][1:])
def test_older_reviewers_warn_of_the_map_under_policies_net(stem: str) -> None:
    entry = read_agent_file(DATA / f"{stem}.yaml")
    (warning,) = [text for text in entry.warnings if "'policies.net'" in text]
    assert warning.startswith(f"{DATA / stem}.yaml:11:3: 'policies.net' is not read")
    assert any("'linters' is not read" in text for text in entry.warnings)
    assert entry.definition.grants().net == ()


# --- TOML of Codex

CODEX = """\
name = "helper"
description = "helps"
developer_instructions = "be brief"
"""


def test_a_codex_agent_may_read_and_nothing_else() -> None:
    definition = _read(CODEX, "a.toml")
    assert (definition.name, definition.goal) == ("helper", "helps")
    assert definition.instructions == "be brief"
    assert definition.grants().tools == set(READING_TOOLS)
    assert definition.grants().fs_read == (".",)
    assert definition.grants().fs_write == ()
    assert _warnings(CODEX, "a.toml") == ()


@pytest.mark.parametrize("mode", ["workspace-write", "danger-full-access"])
def test_a_codex_agent_may_write_where_its_sandbox_says_so(mode: str) -> None:
    text = CODEX + f'sandbox_mode = "{mode}"\n'
    grants = _read(text, "a.toml").grants()
    assert grants.fs_write == (".",)
    assert grants.tools is not None
    assert {"write_file", "apply_patch"} <= grants.tools
    assert len(_warnings(text, "a.toml")) == (mode != "workspace-write")


def test_what_a_codex_agent_loses_is_told() -> None:
    text = CODEX + (
        'model = "gpt"\nmodel_reasoning_effort = "high"\nnickname_candidates = ["x"]\n'
        'sandbox_mode = "strange"\nmodle = "x"\n[mcp_servers.docs]\ncommand = "x"\n'
    )
    definition, warnings = read_agent_text(text, Path("a.toml"))
    assert definition.model is None
    assert definition.grants().fs_write == ()
    shown = "\n".join(warnings)
    assert "a.toml:4:1: 'model' is not taken over: its models are named otherwise" in shown
    assert "a.toml:5:1: 'model_reasoning_effort' is not taken over" in shown
    assert "a.toml:6:1: 'nickname_candidates' is not taken over" in shown
    assert "a.toml:7:1: 'strange' is not known, and taken as 'read-only'" in shown
    assert "a.toml:8:1: 'modle' is not known; did you mean 'model'?" in shown
    assert "mcp_servers" not in shown
    assert definition.servers["docs"].command == "x"
    assert "docs/*" in definition.tools.mcp


@pytest.mark.parametrize("key", ["name", "description", "developer_instructions"])
def test_a_codex_agent_needs_its_texts(key: str) -> None:
    text = "\n".join(line for line in CODEX.splitlines() if not line.startswith(key))
    assert _complaint(text, "a.toml") == f"a.toml: {key!r} is missing or no text"


# --- Markdown of Claude Code

CLAUDE = """\
---
name: helper
description: helps
{more}---

Be brief.

---
Always.
"""


def _claude(more: str = "") -> str:
    return CLAUDE.replace("{more}", more)


def test_a_claude_agent_is_its_front_matter_and_its_prompt() -> None:
    definition = _read(_claude(), "a.md")
    assert (definition.name, definition.goal) == ("helper", "helps")
    assert definition.instructions == "Be brief.\n\n---\nAlways."
    assert definition.grants().tools == set(READING_TOOLS)
    assert definition.grants().fs_write == ()
    assert _warnings(_claude(), "a.md") == ()


def test_tools_of_claude_become_ours_and_writing_ones_grant_writing() -> None:
    for tools in ("tools: Read, Glob, Edit\n", "tools: [Read, Glob, Edit]\n"):
        definition = _read(_claude(tools), "a.md")
        assert definition.tools.mcp == ("read_file", "list_files", "apply_patch")
        assert definition.grants().fs_write == (".",)
        assert _warnings(_claude(tools), "a.md") == ()


def test_what_is_disallowed_is_not_granted() -> None:
    text = _claude("tools: Read, Write\ndisallowedTools: Write\n")
    definition = _read(text, "a.md")
    assert definition.tools.mcp == ("read_file",)
    assert definition.grants().fs_write == ()
    reader = _read(_claude("disallowedTools: [Grep]\n"), "a.md")
    assert reader.tools.mcp == ("list_files", "read_file", "read_skill")


def test_tools_of_servers_keep_their_names() -> None:
    assert _read(_claude("tools: mcp__docs__find\n"), "a.md").tools.mcp == ("docs/find",)


def test_what_a_claude_agent_loses_is_told_with_its_place() -> None:
    text = _claude(
        "tools: [Read, 'Bash(git log, x:*)', WebSearch, Dance, Write(src/**)]\n"
        "model: opus\nhooks: {}\ncolour: red\n"
    )
    definition, warnings = read_agent_text(text, Path("a.md"))
    assert definition.tools.mcp == ("read_file",)
    assert definition.model is None
    shown = "\n".join(warnings)
    assert "a.md:4:15: the tool 'Bash(git log, x:*)' is not taken over: it needs the" in shown
    assert "a.md:4:37: the tool 'WebSearch' is not taken over: no installed" in shown
    assert "the tool 'Dance' is not taken over: there is no such tool" in shown
    assert "the tool 'Write(src/**)' is not taken over: its rule in brackets" in shown
    assert "a.md:5:1: 'model' is not taken over" in shown
    assert "a.md:6:1: 'hooks' is not taken over: hooks are read from settings" in shown
    assert "a.md:7:1: 'colour' is not known; did you mean 'color'?" in shown


def test_a_rule_with_commas_in_brackets_is_one_tool() -> None:
    warnings = _warnings(_claude("tools: Read, Bash(a, b)\n"), "a.md")
    assert len(warnings) == 1
    assert "'Bash(a, b)'" in warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Title\n", "a.md:1:1: does not begin with front matter"),
        ("---\nname: x\n", "a.md:1:1: does not begin with front matter"),
        ("---\nname: x\n---\n", "a.md:2:1: 'description' is missing or no text"),
        ("---\nname: x\ndescription: [\n---\n", "a.md:4:1: is no YAML"),
        ("---\nname: a/b\ndescription: x\n---\n", "a.md:2:1: 'name': String should match"),
        ("---\nname: a\ndescription: x\ntools: 4\n---\n", "a.md:4:1: 'tools': write names"),
    ],
)
def test_a_broken_claude_agent_is_told_with_its_place(text: str, message: str) -> None:
    assert _complaint(text, "a.md").startswith(message)


def test_lines_may_end_as_on_windows() -> None:
    assert _read(_claude().replace("\n", "\r\n"), "a.md").name == "helper"
    assert _read(FULL.replace("\n", "\r\n")).name == "a-1"


# --- any text

FRAGMENTS = st.sampled_from(
    [
        "name: a\n", "goal: b\n", "tools:\n", "  mcp: [grep]\n", "  fs: {read: true}\n", "---\n",
        "&a ", "*a", "!!binary x", "{", "}", "[", "]", ":", "- ", "\t", "\n", "'", '"', "|", ">",
        "0x", "1_0", "12:30:45", ".inf", "2001-01-01", "=", "<<: ", "? ", "\x00", "\x85", "\ufeff",
        "\u2028", "budget: {usd: 1e999}\n", "output: {a: 0b", "description = 'x'\n", "\ud800",
    ]
)  # fmt: skip


@given(
    st.lists(FRAGMENTS | st.text(max_size=8), max_size=12),
    st.sampled_from([".yaml", ".toml", ".md"]),
)
def test_any_text_is_an_agent_or_a_config_error(parts: list[str], ending: str) -> None:
    text = "".join(parts)
    try:
        definition, _ = read_agent_text(text, Path(f"x{ending}"))
    except ConfigError:
        return
    assert definition.name
    assert definition.grants().tools is not None
    definition.limits()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates(),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["allow", "exec", "read"]), below)
    ),
    max_leaves=6,
)
KEYS = [*AgentDefinition.model_fields, "linters", "x"]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_yaml_is_an_agent_or_a_config_error(data: dict[str, object]) -> None:
    text = yaml.safe_dump({"name": "a", "goal": "b", **data}, allow_unicode=True)
    try:
        definition, _ = read_agent_text(text, FILE)
    except ConfigError as error:
        assert error.file == FILE  # noqa: PT017 - either outcome is right
        return
    definition.limits()
