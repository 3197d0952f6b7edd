"""The beginning of a plugin: a package that installs, passes its contract suites, and does little.

The templates lie in `templates/plugin`, those of every kind in `common`; `${name}` and the like are
filled in, and the ending `.txt`, which keeps tools from taking them for code, goes away.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from sashizu_core.errors import UsageError

from sashizu_cli.checks import PACKAGES
from sashizu_cli.group import BROUGHT_BY, OWN

__all__ = ["Kind", "write_skeleton"]


class Kind(StrEnum):
    """What a plugin can begin with."""

    MODEL = "model"
    TOOL = "tool"
    POLICY = "policy"
    SINK = "sink"
    AGENTS = "agents"
    COMMAND = "command"


_SUMMARIES = {
    Kind.MODEL: "Models of {name} for sashizu",
    Kind.TOOL: "The tool {name} for agents of sashizu",
    Kind.POLICY: "The policy {name} for agents of sashizu",
    Kind.SINK: "Events of sashizu for {name}",
    Kind.AGENTS: "The agents of {name} for sashizu",
    Kind.COMMAND: "The command {name} for sashizu",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PLACES = {
    "pyproject.toml": "{file}",
    "README.md": "{file}",
    "test_plugin.py": "tests/{file}",
    "agent.yaml": "src/{module}/agents/{name}.yaml",
}
"""Where a file goes; the others go beside the module."""


def write_skeleton(kind: Kind, name: str, into: Path) -> list[Path]:
    """Write `sashizu-NAME` into a folder; returns the files.

    Raises:
        UsageError: the name is none for a package, or something of the name is there already.
    """
    name = name.removeprefix("sashizu-")
    if len(name) > 50 or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a plugin: write small letters and digits, parts joined by '-'"
        )
    _refuse_taken(kind, name)
    values = _values(kind, name)
    root = into / f"sashizu-{name}"
    try:
        root.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{root} is there already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{root} cannot be written: {error.strerror}") from error
    try:
        return [
            _write(root, path.format(**values), Template(text).substitute(values))
            for path, text in _templates(kind)
        ]
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)  # ours, and of no use
        raise UsageError(f"{root} cannot be written: {error.strerror}") from error


def _refuse_taken(kind: Kind, name: str) -> None:
    """Names that would replace a package of ours, or never be reached.

    Raises:
        UsageError: the name is one of them.
    """
    ours = {package.removeprefix("sashizu-") for package in PACKAGES}
    if name in ours | {"core", "cli", "all"}:
        raise UsageError(f"sashizu-{name} is a package of sashizu itself; choose another name")
    if kind is Kind.COMMAND and name in {*OWN, *BROUGHT_BY, "help"}:
        raise UsageError(f"{name!r} is a command of sashizu itself; choose another name")


def _values(kind: Kind, name: str) -> dict[str, str]:
    module = f"sashizu_{name.replace('-', '_')}"
    core = ".".join(version("sashizu-core").split(".")[:2]) + ".0"
    needed = [f"sashizu-core~={core}", *(["typer>=0.29"] if kind is Kind.COMMAND else [])]
    announced = f'\n[project.entry-points."sashizu.commands"]\n{name} = "{module}.cli:app"\n'
    return {
        "name": name,
        "module": module,
        "tool": name.replace("-", "_"),
        "class_": "".join(part.capitalize() for part in name.split("-")),
        "summary": _SUMMARIES[kind].format(name=name),
        "core": core,
        "dependencies": ", ".join(f'"{dependency}"' for dependency in needed),
        "announcement": announced if kind is Kind.COMMAND else "",
    }


def _templates(kind: Kind) -> Iterator[tuple[str, str]]:
    """The path of each file, with `{module}` and `{name}` open, and its template."""
    folder = files("sashizu_cli").joinpath("templates", "plugin")
    for part in ("common", kind):
        for template in sorted(folder.joinpath(part).iterdir(), key=_name_of):
            file = template.name.removesuffix(".txt")
            place = _PLACES.get(file, "src/{module}/{file}")
            yield place.replace("{file}", file), template.read_text("utf-8")


def _name_of(file: Traversable) -> str:
    return file.name


def _write(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8", newline="\n")
    return file
