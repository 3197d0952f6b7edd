"""Runs the ruff program of the installed package over copies of files. The edge to that program."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import anyio
from sashizu_core.errors import ToolError

from sashizu_offline.findings import Finding, Severity
from sashizu_offline.remedies import REMEDIES

__all__ = ["RULES", "RuffResult", "run_ruff"]

logger = logging.getLogger(__name__)

TIMEOUT_S = 120
"""How long ruff may take for one call; it needs about a second for a thousand files."""

_HIGH = (
    "F502 F503 F505 F506 F507 F508 F509 F521 F524 F525 F621 F622 F631 F632 F633 F634 F701 "
    "F702 F704 F706 F707 F821 F822 F823 F901 B002 B012 B016 B029 B030 B035 PLE0100 "
    "PLE0101 PLE0115 PLE0117 PLE0118 PLE0241 PLE0302 PLE0303 PLE0304 PLE0305 PLE0307 PLE0308 "
    "PLE0309 PLE0604 PLE0605 PLE0643 PLE0704 PLE1132 PLE1142 PLE1205 PLE1206 PLE1300 PLE1307 "
    "PLE1519 PLE1520 PLE1700 PLE2502 PLR1708 PLW0129 PLW0133 PLW0211 PLW0711 PLW1501 PLW0177 "
    "RUF008 RUF016 RUF033 PLW0245 PLW2101 "
)
_MEDIUM = (
    "F402 F501 F504 F522 F523 F601 F602 F811 B003 B005 B020 B006 B011 B014 B015 B018 B019 "
    "B021 B022 B025 B031 B032 B033 B039 E722 PIE794 PIE796 PLE1310 PLE1507 PLR0124 PLW0120 "
    "PLW0127 PLW0128 PLW0406 PLW1507 PLW1508 RUF006 RUF018 RUF024 RUF026 RUF030 RUF032 "
    "RUF034 RUF040 RUF049 RUF060 LOG009 LOG014 W605 ASYNC210 ASYNC212 ASYNC220 ASYNC221 "
    "ASYNC222 ASYNC251 S113 "
)
_LOW = "B004 F401 F404 F541 F841 PLW0602 PLW0604 C901 TRY203 E711"
_SECURITY = "S502 S505 S507 S508 S509 S612 S702"

RULES: Mapping[str, Severity] = {
    **dict.fromkeys(_HIGH.split(), "high"),
    **dict.fromkeys(_MEDIUM.split(), "medium"),
    **dict.fromkeys(_LOW.split(), "low"),
    **dict.fromkeys(_SECURITY.split(), "high"),
}
"""The rules that are asked for: those that report defects, not taste."""

SECURITY_RULES = frozenset(_SECURITY.split())
COMPLEXITY = 25
"""Branches above which a function is reported as hard to follow."""


@dataclass(frozen=True, slots=True)
class RuffResult:
    """Findings and the version of the program that made them."""

    findings: tuple[Finding, ...]
    version: str


def _program() -> Path:
    """The ruff of the running interpreter's own packages: never one that a repository brings.

    Not looked for on PATH: a folder on it can belong to the workspace.
    """
    from ruff import find_ruff_bin  # type: ignore[import-untyped]  # it ships no types

    try:
        return Path(find_ruff_bin()).resolve()
    except FileNotFoundError as error:
        raise ToolError(
            "analyze found no ruff program beside this Python; reinstall the package 'ruff'"
        ) from error


def _arguments(program: Path, folder: str) -> list[str]:
    return [
        str(program),
        "check",
        "--isolated",
        "--no-cache",
        "--no-fix",
        "--no-respect-gitignore",
        "--quiet",
        "--exit-zero",
        "--target-version=py314",
        "--output-format=json",
        "--config=exclude=[]",
        "--config=line-length=320",
        f"--config=lint.mccabe.max-complexity={COMPLEXITY}",
        f"--select={','.join(RULES)}",
        folder,
    ]


def _environment() -> dict[str, str]:
    """Nothing of ours but what Windows needs to start a program."""
    import os

    return {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}


def _copy(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the texts below a fresh folder; maps the copies' relative names to the paths.

    The copies are what makes links harmless: ruff sees no file of the workspace.
    """
    names: dict[str, str] = {}
    for path, text in files.items():
        name = path.lstrip("/").replace(":", "_")  # absolute paths lie in further roots
        if not name.endswith((".py", ".pyi")):
            name += ".py"  # a script that says in its first line that it is Python
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        names[name] = path
    return names


def _read(output: bytes, folder: Path, names: Mapping[str, str]) -> tuple[Finding, ...]:
    found: list[Finding] = []
    for entry in json.loads(output or b"[]"):
        code = entry["code"]
        if code is None or code not in RULES:
            continue  # syntax errors are told by our own parser
        path = names[Path(entry["filename"]).relative_to(folder).as_posix()]
        message = f"{' '.join(str(entry['message']).split())}; {REMEDIES[code]}"
        found.append(Finding(path, _line(entry), code, RULES[code], message))
    return tuple(found)


def _line(entry: Mapping[str, Any]) -> int:
    return int(entry["location"]["row"])


def _fresh_folder() -> TemporaryDirectory[str]:
    # resolved, because ruff reports resolved paths and the system's folder can be a link
    return TemporaryDirectory(prefix="sashizu-", dir=Path(gettempdir()).resolve())


async def run_ruff(files: Mapping[str, str]) -> RuffResult:
    """Check the texts of Python files, by their paths relative to the workspace.

    Fixed rules, no configuration of the repository, a cleared environment, at most `TIMEOUT_S`
    seconds; the program is killed when the caller is cancelled.

    Raises:
        ToolError: ruff is not there, fails or takes too long.
    """
    program = await anyio.to_thread.run_sync(_program)
    version = await _run([str(program), "--version"])
    if not files:
        return RuffResult((), version.decode().strip())
    folder = await anyio.to_thread.run_sync(_fresh_folder)
    try:
        place = Path(folder.name)
        names = await anyio.to_thread.run_sync(_copy, files, place)
        output = await _run(_arguments(program, str(place)))
        findings = await anyio.to_thread.run_sync(_read, output, place, names)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(folder.cleanup)
    return RuffResult(findings, version.decode().strip())


async def _run(arguments: list[str]) -> bytes:
    try:
        with anyio.fail_after(TIMEOUT_S):
            done = await anyio.run_process(
                arguments, check=False, env=_environment(), cwd=Path(sys.prefix)
            )
    except TimeoutError as error:
        raise ToolError(f"ruff took longer than {TIMEOUT_S} s; analyze fewer paths") from error
    if done.returncode != 0:
        logger.warning(
            "ruff ended with %s: %s", done.returncode, done.stderr.decode("utf-8", "replace")
        )
        raise ToolError(f"ruff ended with exit code {done.returncode}")
    return done.stdout
