"""What all benchmarks share: a folder of environments, interleaved rounds, and tables of ratios."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = ("audit", "budget", "cli", "core", "offline", "openai")
PEERS = {
    "agno": ["agno", "openai"],
    "openai-agents": ["openai-agents"],
    "click": ["click"],
    "litellm": ["litellm[proxy]"],
    "llm": ["llm"],
    "server": ["uvloop"],
}


@dataclass(frozen=True)
class Sample:
    """One process: milliseconds by the clock, milliseconds of CPU, megabytes at most."""

    wall_ms: float
    cpu_ms: float
    peak_mb: float


class Lab:
    """A folder of environments, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")

    def uv(self, *words: str) -> None:
        subprocess.run([self._uv, *words], cwd=ROOT, check=True, stdout=sys.stderr)

    def python(self, name: str) -> Path:
        """The interpreter of a peer's environment, compiled and without anything editable."""
        return self._environment(name, PEERS[name])

    def ours(self, *members: str) -> Path:
        """The interpreter of an environment with our wheels, built from this checkout."""
        dist = self.folder / "dist"
        if not dist.is_dir():
            self.uv("build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(dist))
        members = members or OURS
        wheels = [str(next(dist.glob(f"sashizu_{member}-*.whl"))) for member in members]
        return self._environment("sashizu-" + "-".join(members), wheels)

    def _environment(self, name: str, packages: Sequence[str]) -> Path:
        python = self.folder / name / "bin" / "python"
        if not python.exists():
            self.uv("venv", "--quiet", str(self.folder / name))
            target = ("--python", str(python))
            self.uv("pip", "install", "--quiet", "--compile-bytecode", *target, *packages)
        return python

    @contextmanager
    def server(self) -> Iterator[str]:
        """A fake model service in a process of its own; gives `http://127.0.0.1:PORT`."""
        command = [str(self.python("server")), str(HERE / "fake_server.py")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
            finally:
                process.terminate()


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    found = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument(
        "--lab", type=Path, default=Path(tempfile.gettempdir()) / "sashizu-lab", metavar="FOLDER"
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    return found


def interleaved(
    cases: Mapping[str, Callable[[], Any]], rounds: int, *, warmup: int = 1
) -> dict[str, list[Any]]:
    """Call every case once a round, in an order that is shuffled each time."""
    found: dict[str, list[Any]] = {name: [] for name in cases}
    for number in range(-warmup, rounds):
        names = list(cases)
        random.shuffle(names)
        for name in names:
            result = cases[name]()
            if number >= 0:
                found[name].append(result)
    return found


def process(command: Sequence[str], env: Mapping[str, str] | None = None) -> Sample:
    """Run a command to its end, its output thrown away."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        begun = time.perf_counter()
        child = os.posix_spawn(
            command[0],
            command,
            dict(env if env is not None else os.environ),
            file_actions=[(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)],
        )
        _, status, used = os.wait4(child, 0)
        wall = time.perf_counter() - begun
    finally:
        os.close(null)
    if status:
        raise RuntimeError(f"exit status {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return Sample(1000 * wall, 1000 * (used.ru_utime + used.ru_stime), used.ru_maxrss / 1024)


def child(python: Path, program: str, *words: object, **env: str) -> dict[str, Any]:
    """Run one of our programs in an environment; gives the JSON that it prints last."""
    run = subprocess.run(
        [str(python), str(HERE / program), *map(str, words)],
        env={**os.environ, "OPENAI_API_KEY": "x", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{program} in {python}:\n{run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def median(samples: Sequence[Any], key: str | None = None) -> float:
    if key is None:
        return statistics.median(samples)
    return statistics.median(
        sample[key] if isinstance(sample, dict) else getattr(sample, key) for sample in samples
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table as Markdown."""
    print(f"\n{title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(_text(cell) for cell in row) + " |")
    sys.stdout.flush()


def _text(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    if cell >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if cell >= 10 else f"{cell:.2f}"


def keep(file: Path | None, figures: Mapping[str, Any]) -> None:
    """Write every figure to a file, if one was asked for."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=1, default=vars))
