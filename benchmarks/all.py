"""Run every benchmark, one after the other, each with its own defaults.

uv run python benchmarks/all.py [--lab FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = (
    *("startup", "step", "parallel", "oneshot", "audit_write", "audit_read"),
    *("footprint", "gateway", "gpu_stats"),
)


def main() -> None:
    for name in NAMES:
        subprocess.run([sys.executable, str(HERE / f"{name}.py"), *sys.argv[1:]], check=True)
    for name in (
        "admission",
        "client_cost",
        "permission_cost",
        "process_tree",
        "reserve",
        "sandbox_cost",
        "shared_limit",
        "shared_memory",
        "shell_decisions",
        "url_decisions",
    ):
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True)


if __name__ == "__main__":
    main()
