"""What the pages say of servers of tools is what is taken of them."""

import json
import re
import tomllib
from pathlib import Path

from sashizu_core.agents import read_agent_text
from sashizu_core.server_entries import known_entries
from sashizu_core.settings import Settings
from sashizu_mcp_server.client import arguments, connection, faults, greeting, life, listing, stdio
from sashizu_mcp_server.client.cli import app
from sashizu_mcp_server.client.http import MOST_STREAM_BYTES
from sashizu_mcp_server.client.oauth import REDIRECT_PORT
from sashizu_mcp_server.client.pace import Pace
from sashizu_mcp_server.client.settings import ServerSettings, server_settings
from typer.main import get_command

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDE = (DOCS / "how-to/use-mcp-servers.md").read_text("utf-8")
COMMAND = (DOCS / "how-to/mcp.md").read_text("utf-8")
REFERENCE = (DOCS / "reference/mcp-servers.md").read_text("utf-8")
SETTINGS = (DOCS / "reference/settings.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_every_key_of_a_server_has_its_row_with_its_default():
    section = SETTINGS.split("## `[mcp.NAME]`\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \| .* \|$", section, re.MULTILINE)
    shown = {
        name: "not set" if field.default is None else f"`{_toml(field.default)}`"
        for name, field in ServerSettings.model_fields.items()
    }
    assert dict(rows) == shown


def _toml(value):
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def test_every_fault_has_its_row():
    rows = set(re.findall(r"^\| `(\w+)` \| ", REFERENCE, re.MULTILINE))
    assert rows == {*faults.__all__, "ArgumentsError"} - {"ServerFault"}


def test_the_limits_are_those_that_are_kept():
    told = [int(text.replace(",", "")) for text in re.findall(r"\| ([\d,]+)", REFERENCE)]
    assert told == [
        stdio.MOST_MESSAGE_BYTES,
        MOST_STREAM_BYTES,
        life.MOST_UNASKED,
        stdio.MOST_BAD_LINES,
        greeting.MOST_PAGES,
        listing.MOST_TOOLS,
        arguments.MOST_BYTES,
        arguments.DEEPEST,
        listing.MOST_DESCRIPTION,
        connection.MOST_SILENCES,
        Pace().tries,
    ]
    assert f"{life.UNASKED_PER_S:g} more each second" in REFERENCE
    assert f"port {REDIRECT_PORT}" in GUIDE


def test_every_example_of_the_guide_is_understood():
    for text in blocks("toml"):
        assert server_settings(Settings(tomllib.loads(text)))
    for text in blocks("json"):
        entries, problems = known_entries(json.loads(text)["mcpServers"])
        assert entries
        assert problems == []
    for text in blocks("yaml"):
        definition, warnings = read_agent_text(text, Path("agent.yaml"))
        assert warnings == ()
        assert definition.tools.mcp


def test_every_command_is_shown_and_every_shown_command_is_there():
    shown = set(re.findall(r"sashizu mcp (\w+)", GUIDE + COMMAND))
    assert shown == set(get_command(app).commands)
