"""What the pages say of editors, hooks and skills is what there is: recipes start, examples run."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import anyio
import pytest
from acp import spawn_agent_process
from acp.schema import ClientCapabilities
from sashizu_core.reactions import EVENTS
from sashizu_core.reactions.payload import shared_name, tool_names
from sashizu_core.reactions.table import HooksSettings, reactions_of
from sashizu_core.skills.guidance import guidance_paths
from sashizu_core.skills.reading import read_skill_folder
from sashizu_mcp_server.acp.cli import app
from typer.main import get_command

DOCS = Path(__file__).resolve().parent.parent / "docs/how-to"
IDE = (DOCS / "use-in-an-ide.md").read_text("utf-8")
HOOKS = (DOCS / "react-to-events.md").read_text("utf-8")
SKILLS = (DOCS / "use-skills.md").read_text("utf-8")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", IDE, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def env(tmp_path):
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "SASHIZU_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


class Editor:
    async def session_update(self, session_id, update, **_):
        return None

    def on_connect(self, conn):
        return None


async def test_the_recipe_for_zed_starts_an_agent_that_answers(tmp_path, env):
    (text,) = blocks(section("Zed"), "json")
    (server,) = json.loads(text)["agent_servers"].values()
    assert server["type"] == "custom"
    command = Path(sys.executable).with_name(server["command"])
    with anyio.fail_after(60):
        async with spawn_agent_process(
            Editor(), str(command), *server["args"], env=env, cwd=tmp_path
        ) as (connection, _):
            answer = await connection.initialize(1, ClientCapabilities())
            assert answer.agent_info.name == "sashizu"
            assert (await connection.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id


def recipes():
    code = json.loads(blocks(section("VS Code"), "json")[0])["servers"]
    codex = tomllib.loads(blocks(section("Codex"), "toml")[0])["mcp_servers"]
    claude = json.loads(blocks(section("Claude Code"), "json")[0])["mcpServers"]
    return {"code": code["sashizu"], "codex": codex["sashizu"], "claude": claude["sashizu"]}


@pytest.mark.parametrize("who", ["code", "codex", "claude"])
def test_the_other_recipes_start_a_server_that_answers(tmp_path, env, who):
    server = recipes()[who]
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    frame = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    done = subprocess.run(
        [Path(sys.executable).with_name(server["command"]), *server["args"]],
        input=json.dumps(frame).encode() + b"\n",
        capture_output=True,
        env=env,
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "sashizu"


def test_every_option_of_the_command_is_shown():
    page = (DOCS / "acp.md").read_text("utf-8")
    options = {word for param in get_command(app).params for word in param.opts}
    ours = {word for word in options if word.startswith("--")}
    assert ours - {"--install-completion", "--show-completion"} <= set(
        re.findall(r"--[\w-]+", page)
    )


def test_every_event_has_its_row():
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \| .* \|$", HOOKS, re.MULTILINE)
    assert set(rows) == set(EVENTS)


def test_the_names_of_tools_are_those_that_count():
    (sentence,) = re.findall(r"A tool has our name and(.*?)\n\n", HOOKS, re.DOTALL)
    told = re.findall(r"`([\w/]+)` is\s+(?:also\s+)?(`\w+`(?: and `\w+`)*)", sentence)
    assert len(told) == 9
    for tool, names in told:
        assert set(re.findall(r"\w+", names)) - {"and"} <= set(tool_names(tool))
        assert shared_name(tool) in {tool, *re.findall(r"\w+", names)}


def refused(command, told):
    done = subprocess.run(
        ["/bin/sh", "-c", command], input=told.encode(), capture_output=True, check=False
    )
    return done.returncode, done.stderr.decode().strip()


def test_the_hooks_of_the_page_do_what_it_says(tmp_path, monkeypatch):
    table = tomllib.loads(blocks(HOOKS, "toml")[0])["hooks"]
    (first,) = HooksSettings.model_validate(table).reactions()
    assert first.matches(tool_names("shell"))
    assert not first.matches(tool_names("read_file"))
    assert refused(first.command, '{"command": "ls prod/"}') == (2, "production is not touched")
    assert refused(first.command, '{"command": "ls test/"}') == (0, "")
    found, problems = reactions_of(json.loads(blocks(HOOKS, "json")[0])["hooks"], "f", own=True)
    assert problems == ()
    monkeypatch.chdir(tmp_path)
    assert refused(found[0].command, "{}") == (2, "write CHANGELOG.md first")
    (tmp_path / "CHANGELOG.md").touch()
    assert refused(found[0].command, "{}")[0] == 0


def test_the_skill_of_the_page_is_one(tmp_path):
    (text,) = blocks(SKILLS, "markdown")
    folder = tmp_path / "release-notes"
    folder.mkdir()
    (folder / "SKILL.md").write_text(text)
    (folder / "template.md").write_text("# Notes\n")
    skill = read_skill_folder(folder, "user")
    assert skill.name == "release-notes"
    assert [file.path for file in skill.files] == ["template.md"]


def test_guidance_lies_where_the_page_says(tmp_path):
    (listed, _) = blocks(SKILLS, "text")
    assert guidance_paths(["src/pay/charge.py"], tmp_path) == tuple(listed.split())
