"""The commands that installed plugins announce, read without importing anything.

A plugin announces a command with one line of its distribution's metadata:

    [project.entry-points."sashizu.commands"]
    audit = "sashizu_audit.cli:app"

Name and target come from that line, the summary from the distribution's own. Front door and real
app both read this, so they cannot list different commands. `importlib.metadata` finds the same, but
costs several times the start of the interpreter; this file needs only what is loaded already.
"""

import os
import sys

GROUP = "sashizu.commands"
FRONTS = "sashizu.fronts"
PLUGINS = "sashizu"

OURS = {
    "bench": "Measure what this machine really does.",
    "winai": "Show and use what Windows AI can do on this machine.",
    "acp": "Serve agents to an editor over the Agent Client Protocol.",
    "mcp": "List, test and approve servers of tools.",
    "exec-with-budget": "Start a program whose model calls are bounded and recorded.",
    "gateway": "Serve models to other programs, under a budget.",
    "app-server": "Serve conversations to older clients.",
    "mcp-server": "Serve agents and tools over the Model Context Protocol.",
    "merge": "Merge what the agents of a run changed.",
    "report": "Write a page about a run.",
    "worktrees": "List and remove the worktrees of agents.",
}
"""Summaries of our own commands whose distribution brings several."""


class Announced:
    """One announced command: `name`, `target` (`module:attribute`), `dist`, `summary`."""

    __slots__ = ("dist", "name", "summary", "target")

    def __init__(self, name: str, target: str, dist: str, summary: str) -> None:
        self.name = name
        self.target = target
        self.dist = dist
        self.summary = summary


def announced(paths: "list[str] | None" = None, disabled: "str | None" = None) -> "list[Announced]":
    """The announced commands, sorted by name.

    `paths` are the folders to look in (default `sys.path`); of a distribution that lies in two of
    them the first counts, as it does for imports. `disabled` are names of plugins, separated by
    commas (default `$SASHIZU_DISABLE`): the commands of a distribution whose plugins are all
    disabled are left out.
    """
    blocked = _words(os.environ.get("SASHIZU_DISABLE", "") if disabled is None else disabled)
    found: list[Announced] = []
    seen: set[str] = set()
    for folder in sys.path if paths is None else paths:
        for dist, path in _distributions(folder or "."):
            if dist not in seen:
                seen.add(dist)
                found += _commands(dist, path, blocked)
    return sorted(found, key=lambda command: (command.name, command.dist))


def front_of(name: str, paths: "list[str] | None" = None, disabled: "str | None" = None) -> str:
    """The target that begins a command without its library, empty where there is none.

    A plugin whose command has to answer at once names a second target for it:

        [project.entry-points."sashizu.fronts"]
        NAME = "package.front:main"

    Called with the words after the command's name, it returns the exit code, or None to leave them
    to the command itself. It counts only beside the announced command of the same name, and where
    nobody else announces one. The arguments are those of `announced`.
    """
    offers = [command for command in announced(paths, disabled) if command.name == name]
    if len(offers) != 1:
        return ""
    for folder in sys.path if paths is None else paths:
        for dist, path in _distributions(folder or "."):
            if dist == offers[0].dist:
                groups = _entry_points(_read(f"{path}/entry_points.txt"))
                return groups.get(FRONTS, {}).get(name, "")
    return ""


def _words(text: str) -> "set[str]":
    return {word.strip() for word in text.split(",") if word.strip()}


def _distributions(folder: str) -> "list[tuple[str, str]]":
    """Name and folder of what is installed in a folder, in a fixed order."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".dist-info")]
    except OSError:  # not a folder, or not ours to read: nothing can be imported from it either
        return []
    return [
        (name[: -len(".dist-info")].split("-")[0].replace("_", "-").lower(), f"{folder}/{name}")
        for name in sorted(names)
    ]


def _commands(dist: str, path: str, blocked: "set[str]") -> "list[Announced]":
    groups = _entry_points(_read(f"{path}/entry_points.txt"))
    lines = groups.get(GROUP)
    plugins = groups.get(PLUGINS)
    if not lines or (plugins and blocked.issuperset(plugins)):
        return []
    summary = _summary(_read(f"{path}/METADATA"))
    ours = OURS if dist.startswith("sashizu-") else {}
    return [
        Announced(name, target, dist, ours.get(name, summary)) for name, target in lines.items()
    ]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no pathlib
            return file.read()
    except OSError:
        return ""


def _entry_points(text: str) -> "dict[str, dict[str, str]]":
    """Group to name to value (packaging's entry-points file format, without extras)."""
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = groups.setdefault(line[1:-1].strip(), {})
        elif "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            group[name.strip()] = value.split("[")[0].strip()
    return groups


def _summary(metadata: str) -> str:
    """The `Summary` field (core metadata 2.1), printable, one line."""
    for line in metadata.splitlines():
        if not line:
            break  # the headers end here
        if line.startswith("Summary:"):
            return "".join(char for char in line[8:].strip() if char.isprintable())
    return ""


def commands_section(commands: "list[Announced]") -> str:
    """The lines that `--help` shows for them; empty without any. At most 80 columns."""
    names: dict[str, str] = {}
    for command in commands:
        names.setdefault(command.name, command.summary or f"A command of {command.dist}.")
    if not names:
        return ""
    width = max(map(len, names))
    lines = ["", "Commands of plugins:"]
    for name, summary in names.items():
        room = 78 - width - 4
        cut = summary if len(summary) <= room else summary[: room - 3].rstrip() + "..."
        lines.append(f"  {name.ljust(width)}  {cut}".rstrip())
    return "\n".join(lines) + "\n"
