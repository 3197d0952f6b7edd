"""A limit on Codex and six of its agents: its own, and ours.

    uv run python benchmarks/codex_budget.py [--rounds 1]

The real Codex (`npm install --prefix FOLDER/codex @openai/codex@0.169.0`, in the folder of
environments) leads six agents, which never have enough. Beside each other: its own shared budget
(`features.rollout_budget`), and `sashizu exec-with-budget` with the same limit. The limits are
those at which its budget was first measured, 9,000, 7,000 and 17,000 for calls of 850 tokens,
scaled to what the first call of Codex really has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _bench import HERE, Lab, keep, median, parser, table

LIMITS = (7_000 / 850, 9_000 / 850, 17_000 / 850)
ORDER = "lead 6 30"
PROVIDER = 'model_providers.fake={name="fake",base_url="URL",wire_api="responses",env_key="KEY"}'


@dataclass(frozen=True)
class Figures:
    """What the service billed under a limit, in how many calls, from how many agents."""

    limit: int
    tokens: int
    calls: int
    agents: int
    seconds: float

    @property
    def over(self) -> float:
        return 100 * max(0, self.tokens - self.limit) / self.limit

    @property
    def spent(self) -> float:
        return 100 * self.tokens / self.limit


@contextmanager
def service() -> Iterator[str]:
    command = [sys.executable, str(HERE / "codex_service.py"), "--delay", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def bill(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/bill") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def codex(lab: Lab) -> str:
    found = sorted(lab.folder.glob("codex/node_modules/@openai/*/vendor/*/bin/codex"))
    if not found:
        raise SystemExit(f"Codex is not in {lab.folder}/codex: see --help")
    return str(found[0])


def run(words: Sequence[str], home: Path, url: str, limit: int) -> Figures:
    """Run one command against a fresh service; it may fail: that is what limits do."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    begun = time.perf_counter()
    subprocess.run(
        [word.replace("URL", f"{url}/v1") for word in words],
        cwd=home / "work",
        env={
            **env,
            "CODEX_HOME": str(home / "codex"),
            "SASHIZU_HOME": str(home / "state"),
            "KEY": "x",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=600,
        check=False,
    )
    seconds = time.perf_counter() - begun
    told = bill(url)
    if not told["calls"]:
        raise RuntimeError(f"no call was made by: {' '.join(words)}")
    agents = len({call["thread"] for call in told["calls"]})
    return Figures(limit, told["tokens"], len(told["calls"]), agents, seconds)


def exec_words(program: str) -> list[str]:
    return [
        *(program, "exec", "--skip-git-repo-check", "--ephemeral"),
        *("-m", "gpt-5.1-codex", "-c", 'sandbox_mode="danger-full-access"'),
    ]


def own(program: str, limit: int) -> list[str]:
    """Codex with the budget that it has itself."""
    remind = f"reminder_at_remaining_tokens=[{limit // 5}]"
    budget = f"features.rollout_budget={{enabled=true,limit_tokens={limit},{remind}}}"
    provider = ["-c", 'model_provider="fake"', "-c", PROVIDER]
    return [*exec_words(program), *provider, "-c", budget, ORDER]


def ours(program: str, limit: int) -> list[str]:
    sashizu = str(Path(sys.executable).with_name("sashizu"))
    start = [sashizu, "exec-with-budget", "--budget", str(limit), "--openai-url", "URL", "--"]
    return [*start, *exec_words(program), ORDER]


def main() -> None:
    asked = parser(__doc__, rounds=1).parse_args()
    program = codex(Lab(asked.lab))
    found: dict[str, list[Figures]] = {}
    # Codex keeps nothing below the folder for temporary files.
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        home = Path(folder)
        for name in ("work", "codex", "state"):
            (home / name).mkdir()
        with service() as url:
            provider = ["-c", 'model_provider="fake"', "-c", PROVIDER]
            run([*exec_words(program), *provider, "hello"], home, url, 1)
            one = bill(url)["tokens"]
        for _ in range(asked.rounds):
            for share in LIMITS:
                limit = int(share * one)
                for name, words in (("Codex's own", own), ("sashizu", ours)):
                    with service() as url:
                        figures = run(words(program, limit), home, url, limit)
                    found.setdefault(f"{limit:,}, {name}", []).append(figures)
    keys = ("tokens", "over", "spent", "calls", "agents", "seconds")
    rows = [(name, *(median(samples, key) for key in keys)) for name, samples in found.items()]
    head = ("limit", "tokens billed", "% over", "% spent", "calls", "agents", "seconds")
    table(f"Codex and six agents; its first call has {one:,} tokens", head, rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()
