"""Whether documents and packaging name things that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from sashizu_offline.checks.tree import FUNCTIONS, PythonFile
from sashizu_offline.findings import Finding
from sashizu_offline.languages import is_test_path

__all__ = ["entry_point_findings", "link_findings", "normalised"]

_FENCE = re.compile(r"^(\s*)(```+|~~~+)")
_INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK = re.compile(r"(?<!\\)\]\(\s*<?([^)\s<>]+)>?(?:\s+[\"'(][^)]*)?\s*\)")
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:")


def normalised(base: str, target: str) -> str | None:
    """`target` seen from the folder `base`, or None when it leads out of the workspace."""
    parts: list[str] = []
    for part in (*PurePosixPath(base).parts, *PurePosixPath(target).parts):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in (".", "/"):
            parts.append(part)
    return "/".join(parts)


def link_findings(path: str, text: str, exists: Callable[[str], bool | None]) -> Iterator[Finding]:
    """Relative links of a Markdown file that lead to no file.

    `exists` says whether a path leads to something, None where that is not known. Links that leave
    the workspace, absolute paths (a site's own root) and generated pages (`.html`) are not judged.
    """
    if is_test_path(path):
        return
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        if mark := _FENCE.match(line):
            fence = "" if fence and mark.group(2).startswith(fence) else fence or mark.group(2)[:3]
            continue
        if fence or line.startswith(("    ", "\t")) or len(line) > 2_000:
            continue
        for match in _LINK.finditer(_INLINE_CODE.sub("", line)):
            target = unquote(match.group(1).partition("#")[0].partition("?")[0])
            if not _is_checkable(target):
                continue
            place = normalised(str(PurePosixPath(path).parent), target)
            if place and exists(place) is False:
                yield Finding(
                    path,
                    number,
                    "broken-link",
                    "low",
                    f"the link leads to {place!r}, which does not exist; correct it or take it out",
                )


def _is_checkable(target: str) -> bool:
    if not target or _SCHEME.match(target) or target.startswith(("/", "{", "$", "@", "<", "...")):
        return False
    if any(mark in target for mark in "{}$*|"):
        return False
    name = PurePosixPath(target).name
    return "." in name.strip(".") and not name.endswith((".html", ".htm"))


def _defined(file: PythonFile) -> set[str] | None:
    """The names at the top of a module; None when they can not be told."""
    found: set[str] = set(file.imports)
    for node in file.nodes:
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                return None
            case ast.FunctionDef(name="__getattr__"):
                return None
            case ast.Name(id="globals") | ast.Name(id="exec"):
                return None
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case _ if isinstance(node, FUNCTIONS):
                found.add(node.name)
            case _:
                pass
    return found


def entry_point_findings(
    path: str, text: str, python: Mapping[str, PythonFile]
) -> Iterator[Finding]:
    """Scripts and entry points of a `pyproject.toml` that name no function of the project.

    Modules that do not lie beside the file (or in its `src`) are not judged.
    """
    try:
        project = tomllib.loads(text).get("project", {})
    except tomllib.TOMLDecodeError:
        return
    if not isinstance(project, dict):
        return
    groups = [project.get("scripts"), project.get("gui-scripts")]
    points = project.get("entry-points")
    groups += list(points.values()) if isinstance(points, dict) else []
    for group in groups:
        for name, target in group.items() if isinstance(group, dict) else ():
            problem = _problem(str(target), str(PurePosixPath(path).parent), python)
            if problem:
                message = f"{problem}; correct the name, or write what it names"
                yield Finding(path, _line_of(text, name), "broken-entry-point", "high", message)


def _line_of(text: str, name: str) -> int:
    pattern = re.compile(rf"^\s*[\"']?{re.escape(name)}[\"']?\s*=", re.MULTILINE)
    found = pattern.search(text)
    return text.count("\n", 0, found.start() + len(found.group()) - 1) + 1 if found else 1


def _problem(target: str, folder: str, python: Mapping[str, PythonFile]) -> str:
    module, _, function = target.partition("[")[0].strip().partition(":")
    if not re.fullmatch(r"[\w.]+", module):
        return ""
    inner = module.replace(".", "/")
    places = [
        normalised(folder, f"{root}{inner}{end}")
        for root in ("", "src/")
        for end in (".py", "/__init__.py")
    ]
    found = next((python[p] for p in places if p is not None and p in python), None)
    top = module.partition(".")[0]
    roots = [normalised(folder, f"{root}{top}/__init__.py") for root in ("", "src/")]
    if found is None:
        known = "." in module and any(root in python for root in roots if root)
        return f"{target!r} names the module {module!r}, which does not exist" if known else ""
    defined = _defined(found)
    first = function.partition(".")[0]
    if first and defined is not None and first not in defined:
        return f"{target!r} names {first!r}, which {found.path} does not define"
    return ""
