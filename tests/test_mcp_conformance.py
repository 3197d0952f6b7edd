"""The protocol's own suite and inspector judge our server and our client, in both eras."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.network

SCRIPT = Path(sys.executable).with_name("sashizu")
CLIENT = Path(__file__).parent / "programs" / "mcp_client.py"
SUITE = ("@modelcontextprotocol/conformance", "0.2.0-alpha.12")
INSPECTOR = ("@modelcontextprotocol/inspector", "2.12.0")

# The suite is written for a server that was made for it. These scenarios need what only that has.
A_TOOL = "calls a tool of the suite's own"
A_PROMPT = "gets a prompt of the suite's own"
A_RESOURCE = "reads a resource of the suite's own"
UNDECLARED = "uses a capability that our server does not declare"
NOT_FOR_US = {
    "completion-complete": UNDECLARED,
    "logging-set-level": UNDECLARED,
    "resources-subscribe": UNDECLARED,
    "resources-unsubscribe": UNDECLARED,
    "tools-call-with-logging": UNDECLARED,
    "resources-read-text": A_RESOURCE,
    "resources-read-binary": A_RESOURCE,
    "resources-templates-read": A_RESOURCE,
    "prompts-get-simple": A_PROMPT,
    "prompts-get-with-args": A_PROMPT,
    "prompts-get-embedded-resource": A_PROMPT,
    "prompts-get-with-image": A_PROMPT,
    "input-required-result-non-tool-request": A_PROMPT,
    "tools-call-simple-text": A_TOOL,
    "tools-call-image": A_TOOL,
    "tools-call-audio": A_TOOL,
    "tools-call-embedded-resource": A_TOOL,
    "tools-call-mixed-content": A_TOOL,
    "tools-call-error": A_TOOL,
    "tools-call-with-progress": A_TOOL,
    "tools-call-sampling": A_TOOL,
    "tools-call-elicitation": A_TOOL,
    "json-schema-2020-12": A_TOOL,
    "elicitation-sep1034-defaults": A_TOOL,
    "elicitation-sep1330-enums": A_TOOL,
    "server-sse-polling": A_TOOL,
    "http-custom-header-server-validation": A_TOOL,
    "input-required-result-basic-elicitation": A_TOOL,
    "input-required-result-basic-sampling": A_TOOL,
    "input-required-result-basic-list-roots": A_TOOL,
    "input-required-result-request-state": A_TOOL,
    "input-required-result-multiple-input-requests": A_TOOL,
    "input-required-result-multi-round": A_TOOL,
    "input-required-result-missing-input-response": A_TOOL,
    "input-required-result-result-type": A_TOOL,
    "input-required-result-tampered-state": A_TOOL,
    "input-required-result-capability-check": A_TOOL,
    "input-required-result-ignore-extra-params": A_TOOL,
}
# Of a scenario that is otherwise for us, these checks are not.
NOT_FOR_US_IN = {
    "server-stateless": {
        "sep-2575-server-rejects-undeclared-capability": A_TOOL,
        "sep-2575-missing-capability-http-400": A_TOOL,
        "sep-2575-http-server-no-independent-requests-on-stream": A_TOOL,
        "sep-2575-server-no-log-without-loglevel": A_TOOL,
    }
}
FOR_US = {
    "2025-06-18": {
        "server-initialize",
        "server-session-lifecycle",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
    },
    "2025-11-25": {
        "server-initialize",
        "server-session-lifecycle",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
    },
    "2026-07-28": {
        "server-stateless",
        "tools-list",
        "resources-list",
        "prompts-list",
        "sep-2164-resource-not-found",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
        "caching",
        "http-header-validation",
        "input-required-result-unsupported-methods",
        "input-required-result-validate-input",
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one file, beside a home."""
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "work").mkdir()
    (folder / "work" / "a.py").write_text("def add(a, b):\n    return a + b\n")
    return folder


def environment(place: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "SASHIZU_HOME": str(place / "state"),
        "XDG_CONFIG_HOME": str(place / "config"),
    }


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    """Where a server serves HTTP to everybody on this machine."""
    with subprocess.Popen(
        [str(SCRIPT), "mcp-server", "--http=127.0.0.1:0", "--no-token", "--model=offline"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(place),
        cwd=place / "work",
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            line = server.stderr.readline()
            assert "listening on " in line, line
            yield line.split("listening on ", 1)[1].strip()
        finally:
            server.terminate()


def judged(node: Path, suite: Path, folder: Path, *words: str) -> dict[str, dict[str, Any]]:
    """What the suite says of every check: messages by status and check, by scenario."""
    program = suite / "node_modules" / SUITE[0] / "dist" / "index.js"
    ran = subprocess.run(
        [str(node), str(program), *words, "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    found: dict[str, dict[str, Any]] = {}
    for file in folder.glob("**/checks.json"):
        name = file.parent.relative_to(folder).as_posix().removeprefix("server-")
        told = found[re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", name)] = {}
        for check in json.loads(file.read_text()):
            told.setdefault(check["status"], {})[check["id"]] = check.get("errorMessage")
    assert found, ran.stdout + ran.stderr
    return found


def failed(told: dict[str, Any]) -> set[str]:
    return told.get("FAILURE", {}).keys() | told.get("WARNING", {}).keys()


@pytest.mark.parametrize("version", list(FOR_US))
def test_the_server_does_all_that_the_suite_asks_of_every_server(
    version, url, node, from_npm, tmp_path
):
    words = ("server", "--url", url, "--suite", "all", "--spec-version", version)

    found = judged(node, from_npm(*SUITE), tmp_path, *words)

    assert found.keys() - NOT_FOR_US.keys() == FOR_US[version]
    for name in FOR_US[version]:
        assert failed(found[name]) == NOT_FOR_US_IN.get(name, {}).keys(), found[name]
        assert found[name]["SUCCESS"]
    # What is for a server of the suite's own alone cannot pass: it would be for us.
    assert all(failed(found[name]) for name in found.keys() & NOT_FOR_US.keys())


# --- our client -----------------------------------------------------------------------------------

UNASKED = "asks a person, which our client does not declare that it can"
NOT_FOR_OUR_CLIENT = {
    "auth/basic-cimd": ({"cimd-client-id-used"}, "no document on the Web describes our client"),
    "auth/pre-registration": (
        {"pre-registration-auth"},
        "our client registers itself, and cannot be told who it is",
    ),
    "elicitation-sep1034-client-defaults": (
        {f"client-elicitation-sep1034-{kind}" for kind in ("general", "string-default")}
        | {f"client-elicitation-sep1034-{kind}-default" for kind in ("integer", "number")}
        | {f"client-elicitation-sep1034-{kind}-default" for kind in ("enum", "boolean")},
        UNASKED,
    ),
    "sep-2322-client-request-state": (
        {
            "sep-2322-client-request-state-echoed",
            "sep-2322-client-jsonrpc-id-different",
            "sep-2322-client-no-state-omitted",
        },
        UNASKED,
    ),
    "http-custom-headers": (
        {"sep-2243-client-omit-null"},
        "sends a null that the tool's schema does not allow, which our client refuses before",
    ),
}


@pytest.mark.parametrize(("version", "scenarios"), [("2025-11-25", 19), ("2026-07-28", 33)])
def test_our_client_does_all_that_the_suite_asks_of_every_client(
    version, scenarios, node, from_npm, tmp_path
):
    script = tmp_path / "client.sh"  # the suite splits its words at blanks, and knows no folder
    script.write_text(
        f"#!/bin/sh\nhere=$(mktemp -d '{tmp_path}/XXXXXX') && cd \"$here\" || exit 1\n"
        f'export HOME="$here" SASHIZU_HOME="$here/state"\n'
        f"exec '{sys.executable}' '{CLIENT}' \"$@\"\n"
    )
    script.chmod(0o700)
    words = ("client", "--suite", "all", "--spec-version", version, "--timeout", "300000")

    found = judged(node, from_npm(*SUITE), tmp_path / "out", *words, "--command", str(script))

    assert len(found) == scenarios
    for name, told in found.items():
        assert failed(told) == NOT_FOR_OUR_CLIENT.get(name, (set(), ""))[0], (name, told)


# --- the inspector --------------------------------------------------------------------------------


@pytest.fixture
def inspect(node, from_npm, place):
    """Runs one method of the inspector against a server on stdio."""
    folder = from_npm(*INSPECTOR) / "node_modules" / INSPECTOR[0]

    def run(era: str, method: str, *words: str) -> Any:
        program = folder / "clients" / "launcher" / "build" / "index.js"
        server = (str(SCRIPT), "mcp-server")
        flags = ("--protocol-era", era, "--method", method)
        ran = subprocess.run(
            [*map(str, (node, program)), "--cli", *server, *flags, *words],
            capture_output=True,
            text=True,
            env=environment(place),
            cwd=place / "work",
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_can_use_everything_over_stdio(inspect, era):
    tools = inspect(era, "tools/list", "--strict")["tools"]
    assert {"delegate", "read_file"} <= {tool["name"] for tool in tools}
    read = inspect(era, "tools/call", "--tool-name", "read_file", "--tool-arg", "path=a.py")
    assert "return a + b" in read["structuredContent"]["text"]
    uris = {resource["uri"] for resource in inspect(era, "resources/list")["resources"]}
    assert "agent://general" in uris
    (content,) = inspect(era, "resources/read", "--uri", "agent://general")["contents"]
    assert json.loads(content["text"])["name"] == "general"
    assert len(inspect(era, "resources/templates/list")["resourceTemplates"]) == 3
    prompts = {prompt["name"] for prompt in inspect(era, "prompts/list")["prompts"]}
    assert prompts == {"review", "delegate"}
    words = ("--prompt-name", "delegate", "--prompt-args", "agent=general", "goal=look")
    (message,) = inspect(era, "prompts/get", *words)["messages"]
    assert "general" in message["content"]["text"]
