"""What `sashizu doctor` looks at. Every check answers; none of them raises."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_core.errors import SashizuError

from sashizu_cli.probing import State, probed
from sashizu_cli.windows_checks import lacking_on_windows, platform_name

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry
    from sashizu_core.sandboxing import SandboxInfo
    from sashizu_core.specs import SandboxSpec

    from sashizu_cli.session import Session

__all__ = ["Finding", "all_findings"]

PACKAGES = {
    "sashizu-audit": "the durable record, without which a run needs --no-audit; `sashizu audit`",
    "sashizu-budget": "limits in tokens, USD and requests; `sashizu budget`",
    "sashizu-offline": "the model 'offline', which needs no key, and the tool 'analyze'",
    "sashizu-openai": "models of OpenAI and of every compatible service",
    "sashizu-sandbox": "programs held by a sandbox: the tools 'shell' and 'fetch'; worktrees",
}
"""Our own packages, and what each gives."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. Only a `problem` keeps something from working as asked."""

    about: str
    state: State
    text: str


def all_findings(session: Session) -> Iterator[Finding]:
    """Look at everything, in the order of what rests on what."""
    yield _python()
    yield Finding("platform", "ok", platform_name())
    yield from _packages()
    yield from _configuration(session)
    yield _state_folder()
    yield _full_text_search()
    yield _program("rg", "grep uses it; without it a slower search of our own is used")
    yield _program("git", "agents that work side by side need it; reviews use its history")
    yield from _beneath()
    yield from (Finding(about, "absent", text) for about, text in lacking_on_windows())
    yield from _keys(session)
    yield _terminal()


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name, gives in PACKAGES.items():
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "absent", f"pip install {name} gives {gives}")


def _configuration(session: Session) -> Iterator[Finding]:
    """Settings, plugins and agents: each rests on the one before."""
    try:
        warnings = session.settings.warnings
    except SashizuError as error:
        yield Finding("settings", "problem", str(error))
        return
    yield from (Finding("settings", "problem", text) for text in warnings)
    try:
        registry = session.registry
    except SashizuError as error:
        yield Finding("plugins", "problem", str(error))
        return
    yield from _plugins(session)
    if registry.budget is None:
        yield Finding("budget", "absent", "no plugin provides a ledger: limits cannot be kept")
    yield from _sandboxes(registry)
    yield from (Finding(*each) for each in probed(registry))
    yield from _agents(session)


def _sandboxes(registry: Registry) -> Iterator[Finding]:
    """Try each for real. A problem only if none of them can hold a program."""
    specs = sorted(registry.sandboxes.values(), key=lambda spec: spec.rank)
    found = [_tried(spec) for spec in specs]
    held = any(info.kind != "none" for info in found)
    for info in found:
        state: State = "ok" if info.kind == "enforced" else "absent"
        if not held and info.remedy:
            state = "problem"
        parts = (info.kind, info.reason, info.remedy)
        yield Finding(f"sandbox {info.name}", state, "; ".join(part for part in parts if part))


def _tried(spec: SandboxSpec) -> SandboxInfo:
    from sashizu_core.sandboxing import SandboxInfo

    try:
        return spec.probe()
    except Exception as error:  # noqa: BLE001 - a plugin's mistake is a finding too
        return SandboxInfo(spec.name, "none", f"trying it failed: {error}")


def _plugins(session: Session) -> Iterator[Finding]:
    registry = session.registry
    for plugin in registry.plugins:
        yield Finding(f"plugin {plugin.name}", "ok", plugin.distribution or plugin.module)
    for broken in registry.broken:
        yield Finding(f"plugin {broken.name}", "problem", f"not loaded: {broken.reason}")
    for name in session.settings.plugins.disable:
        yield Finding(f"plugin {name}", "absent", "disabled by the settings")


def _agents(session: Session) -> Iterator[Finding]:
    from sashizu_cli.catalogue import catalogue_of

    catalogue = catalogue_of(session)
    yield Finding("agents", "ok", f"{len(catalogue)} can be asked for")
    for problem in catalogue.problems:
        yield Finding(f"agent {problem.name}", "problem", str(problem.error))


def _state_folder() -> Finding:
    from sashizu_core.home import state_home

    folder = state_home()
    if not folder.exists():
        above = next(parent for parent in folder.parents if parent.exists())
        if above.is_dir() and os.access(above, os.W_OK):
            return Finding("state folder", "ok", f"{folder} (made by the first run)")
        text = f"{folder}: {above} may not be written; set SASHIZU_HOME to another folder"
        return Finding("state folder", "problem", text)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"sashizu")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            "state folder", "problem", f"{folder}: {reason}; set SASHIZU_HOME to another folder"
        )
    return Finding("state folder", "ok", f"{folder} ({free // 10**6:,} MB free)")


def _full_text_search() -> Finding:
    try:
        with sqlite3.connect(":memory:") as connection:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
        connection.close()
    except sqlite3.Error as error:
        return Finding("sqlite fts5", "absent", f"codebase_search does not work: {error}")
    return Finding("sqlite fts5", "ok", sqlite3.sqlite_version)


def _program(name: str, use: str) -> Finding:
    found = shutil.which(name)
    if found is None:
        return Finding(name, "absent", use)
    return Finding(name, "ok", str(Path(found).resolve()))


def _beneath() -> Iterator[Finding]:
    """How paths are kept inside the workspace; of Windows another row tells."""
    if sys.platform == "win32":
        return
    from sashizu_core.workspace.posix import kernel_resolves

    if kernel_resolves():
        yield Finding("openat2", "ok", "the kernel keeps paths inside the workspace")
    else:
        yield Finding("openat2", "absent", "paths are checked step by step instead")


def _keys(session: Session) -> Iterator[Finding]:
    """Whether the keys of models are there; never what they are."""
    names = {"OPENAI_API_KEY": "openai"}
    try:
        models = session.settings.tables.get("models", {})
    except SashizuError:
        models = {}
    for model, table in models.items():
        if isinstance(table, Mapping) and isinstance(table.get("key_env"), str):
            names[table["key_env"]] = f"models.{model}"
    for variable, user in names.items():
        state: State = "ok" if os.environ.get(variable) else "absent"
        text = f"{variable} is {'set' if state == 'ok' else 'not set'}"
        yield Finding(f"key for {user}", state, text)


def _terminal() -> Finding:
    if not sys.stderr.isatty():
        return Finding("terminal", "absent", "stderr is none: progress is shown as plain lines")
    colour = "off (NO_COLOR)" if os.environ.get("NO_COLOR") else "on"
    columns = shutil.get_terminal_size().columns
    return Finding("terminal", "ok", f"{columns} columns, {sys.stderr.encoding}, colour {colour}")
