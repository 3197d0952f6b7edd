"""One shot: a whole process that starts, makes two model calls and one tool call, and ends.

    uv run python benchmarks/oneshot.py [--rounds 12]

The model answers at once, over HTTP on this machine. Ours is `sashizu delegate` with its record and
a budget; beside it openai-agents, agno, and `codex exec` where Codex is installed in the folder of
environments (`npm install --prefix FOLDER/codex @openai/codex`, 400 MB).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from _bench import HERE, Lab, Sample, interleaved, keep, median, parser, process, table

AGENT = """\
name: looker
goal: Say which files there are.
tools:
  mcp: [list_files]
  fs: {read: true}
budget: {tokens: 100000}
"""
CODEX = """\
model = "gpt-5.1-codex"
model_provider = "fake"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.fake]
name = "fake"
base_url = "URL/ms0-steps1-exec_command/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
request_max_retries = 0
stream_max_retries = 0
"""


def case(command: list[str], **env: object) -> Callable[[], Sample]:
    given = {**os.environ, "OPENAI_API_KEY": "x", **{k: str(v) for k, v in env.items()}}
    return lambda: process(command, given)


def ours(lab: Lab, server: str) -> Callable[[], Sample]:
    place = lab.folder / "oneshot"
    config, agents = place / "config/sashizu", place / "config/sashizu/agents"
    for folder in (config, agents, place / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    (agents / "looker.yaml").write_text(AGENT)
    (config / "sashizu.toml").write_text(
        f'[models.local]\nbase_url = "{server}/ms0-steps1-list_files/v1"\n'
    )
    sashizu = str(lab.ours().parent / "sashizu")
    words = ["-C", str(place / "work"), "delegate", "looker", "--model", "local/m"]
    home = {"XDG_CONFIG_HOME": place / "config", "SASHIZU_HOME": place / "state"}
    return case([sashizu, *words, "--budget", "100000"], **home)


def codex(lab: Lab, server: str) -> Callable[[], Sample] | None:
    found = sorted(lab.folder.glob("codex/node_modules/@openai/*/vendor/*/bin/codex"))
    if not found:
        return None
    home = lab.folder / "codex-home"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(CODEX.replace("URL", server))
    words = ["exec", "--skip-git-repo-check", "--ephemeral", "-C", str(home), "hello"]
    return case([str(found[0]), *words], CODEX_HOME=home)


def peer(python: Path, program: str, server: str) -> Callable[[], Sample]:
    words = ["--url", server, "--steps", "1", "--agents", "1", "--once"]
    return case([str(python), str(HERE / "agents" / program), *words])


def main() -> None:
    asked = parser(__doc__, rounds=12).parse_args()
    lab = Lab(asked.lab)
    with lab.server() as server:
        cases = {
            "sashizu delegate": ours(lab, server),
            "openai-agents": peer(lab.python("openai-agents"), "openai_agents_agent.py", server),
            "agno": peer(lab.python("agno"), "agno_agent.py", server),
        }
        if native := codex(lab, server):
            cases["codex exec"] = native
        found = interleaved(cases, asked.rounds)
    base = "codex exec" if native else "openai-agents"

    def ratio(samples: list[Sample], base: str) -> float:
        pairs = zip(samples, found[base], strict=True)
        return median([sample.wall_ms / other.wall_ms for sample, other in pairs])

    rows = [
        (
            name,
            median(samples, "wall_ms"),
            median(samples, "cpu_ms"),
            median(samples, "peak_mb"),
            ratio(samples, base),
            ratio(samples, "openai-agents"),
        )
        for name, samples in found.items()
    ]
    head = ("process", "ms", "CPU ms", "MB at most", f"x {base}", "x openai-agents")
    table(f"One shot, medians of {asked.rounds} rounds", head, rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()
