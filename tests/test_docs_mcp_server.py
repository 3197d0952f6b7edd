"""What the pages say of the MCP server is what it offers."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from sashizu_mcp_server.cli import app
from sashizu_mcp_server.server.ceiling import load_ceiling
from sashizu_mcp_server.server.resources import PROMPTS, TEMPLATES
from sashizu_mcp_server.server.service import open_service
from sashizu_mcp_server.server.workbench import DIRECT_TOOLS
from sashizu_mcp_server.startup.options import Options
from typer.main import get_command

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDE = (DOCS / "how-to/serve-mcp.md").read_text("utf-8")
REFERENCE = (DOCS / "reference/mcp-server.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


async def test_every_tool_has_its_row_with_its_arguments(folder):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", REFERENCE, re.MULTILINE))
    async with open_service(Options(), folder) as service:
        offered = {
            name: set(tool.definition["inputSchema"]["properties"])
            for name, tool in service.tools.items()
            if name not in DIRECT_TOOLS
        }
    assert {name: set(re.findall(r"`(\w+)`", rows[name])) for name in offered} == offered
    for name in DIRECT_TOOLS:
        assert f"`{name}`" in REFERENCE


def test_every_option_has_its_row():
    table = set(re.findall(r"^\| `(--[\w-]+)", REFERENCE, re.MULTILINE))
    options = {word for param in get_command(app).params for word in param.opts}
    assert table == {word for word in options if word.startswith("--")} - {
        "--install-completion",
        "--show-completion",
    }


def test_every_resource_and_prompt_is_named():
    for template in TEMPLATES:
        assert f"`{template['uriTemplate'].split('://')[0]}://" in REFERENCE
    for prompt in PROMPTS:
        assert f"`{prompt['name']}`" in REFERENCE


def test_the_recipes_start_the_server():
    codex, _ = map(tomllib.loads, blocks("toml"))
    claude, code = map(json.loads, blocks("json"))
    for server in (
        codex["mcp_servers"]["sashizu"],
        claude["mcpServers"]["sashizu"],
        code["servers"]["sashizu"],
    ):
        assert [server["command"], *server["args"]] == ["sashizu", "mcp-server"]


def test_the_policy_of_the_guide_opens_what_it_says(tmp_path):
    file = tmp_path / "mcp.toml"
    file.write_text(blocks("toml")[1])
    policy = load_ceiling(file)
    assert (policy.fs_read, policy.fs_write) == ((".",), ("src", "tests"))
    assert policy.exec == ("pytest", "git diff")
    assert policy.net == ()
    assert [rule.verdict for rule in policy.rules] == ["ask"]
