"""Definitions of agents, by rules: the verbs of a wish, and the languages of the repository."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from sashizu_core.prompt import Brief

from sashizu_offline.jobs import JOBS, Job, choose_job
from sashizu_offline.languages import CODE, is_test_path, language_of

__all__ = ["definition_text", "listed_files"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READS = ("list_files", "read_file", "grep", "codebase_search")
_CHANGES = re.compile(
    r"\b(?:add|change|correct|create|edit|fix|format|generate|implement|migrate|refactor|remove|"
    r"rename|repair|replace|rewrite|translate|update|write)\w*\b",
    re.IGNORECASE,
)
_ONLY_REPORTS = re.compile(r"(?i)\b(?:write|create|generate)s?\s+(?:a|an|the)?\s*\w*\s*report")
_RUNS = re.compile(r"(?i)\b(?:run|execute|start|build|compile|lint|typecheck)s?\b|\btests? pass")
_READ_ONLY = re.compile(r"(?i)\bread[- ]only\b|\b(?:never|not|without) (?:chang|writ|edit|modify)")
_PATH = re.compile(r"(?<![\w/.:-])(?:[\w.-]+/)+[\w.-]*|(?<![\w/.:-])[\w-]+\.[a-z]{1,4}\b")
_PROGRAMS: Mapping[str, Sequence[str]] = {
    "Python": ("python -m pytest", "pytest"),
    "JavaScript": ("npm test", "node --test"),
    "TypeScript": ("npm test", "npx tsc"),
    "Go": ("go test", "go build", "go vet"),
    "Rust": ("cargo test", "cargo build", "cargo clippy"),
    "Java": ("mvn test", "gradle test"),
    "Ruby": ("bundle exec rspec", "rake test"),
    "PHP": ("composer test", "vendor/bin/phpunit"),
    "C#": ("dotnet test", "dotnet build"),
}
_CRITERIA: Mapping[str, Sequence[str]] = {
    "review": (
        "Every finding names a file and a line",
        "Every finding says what goes wrong and how to mend it",
    ),
    "security": (
        "Every finding names a file and a line",
        "Every finding has a severity and a remedy",
    ),
    "tests": (
        "Every expectation is derived from the code or its documentation",
        "What stays untested is listed with file and line",
    ),
    "research": ("Every statement names its source", "What the files do not answer is listed"),
}
_STOP = _words(
    "a an the and or of for to in on with that which who is are be agent agents please make create "
    "me my our your i we want need should would can could this these those all every any it its "
    "new code files file"
)
_TOKENS = 200_000


def listed_files(answers: Sequence[str]) -> list[str]:
    """The files in what `list_files` answered, without its notes."""
    lines = [line for text in answers for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("[") and not line.endswith("/")]


def definition_text(brief: Brief, files: Sequence[str]) -> str:
    """The JSON text of a definition for the wish in a maker's brief."""
    facts = brief.inputs
    wish = facts["wish"]
    there = json.loads(facts["tools there are"])
    taken = {name.strip() for name in facts["names taken"].split(",")}
    languages = _languages(files)
    job = choose_job(Brief("", "", wish))
    changes, runs = _wants_changes(wish), _RUNS.search(wish) is not None
    places = _places(wish, files)
    programs = _programs(languages) if runs and "shell" in there else []
    artifact = "" if changes else f"{_name(wish, taken)}.md"
    tools = _tools(there, job, changes=changes, programs=programs, writes=bool(artifact))
    definition = {
        "name": _name(wish, taken),
        "goal": _goal(wish),
        "instructions": _instructions(wish, languages, changes=changes, programs=programs),
        "tools": {
            "mcp": tools,
            "fs": {"read": ["."], "write": _writable(places, files) if changes else []},
            "net": {"allow": []},
            "shell": {"exec": programs},
        },
        "success_criteria": _criteria(job, changes=changes, runs=bool(programs)),
        "artifacts": [artifact] if artifact and "write_file" in tools else [],
        "budget": {
            "tokens": _TOKENS,
            "usd": None,
            "requests": None,
            "seconds": None,
            "agents": None,
        },
        "spawn": {"agents": [], "max": None, "depth": None},
        "verify": [],
    }
    return json.dumps(definition, ensure_ascii=False)


def _wants_changes(wish: str) -> bool:
    if _READ_ONLY.search(wish):
        return False
    return _CHANGES.search(_ONLY_REPORTS.sub("", wish)) is not None


def _languages(files: Sequence[str]) -> list[str]:
    """The programming languages of the repository, the most frequent first."""
    found = Counter(language_of(path) for path in files)
    return [name for name, _ in found.most_common() if name is not None and name in _spoken()]


def _spoken() -> Collection[str]:
    return {*CODE, "Python", "SQL", "HTML", "CSS"}


def _programs(languages: Sequence[str]) -> list[str]:
    known = [program for name in languages[:2] for program in _PROGRAMS.get(name, ())]
    return list(dict.fromkeys(known))


def _places(wish: str, files: Sequence[str]) -> list[str]:
    """Folders and files that the wish names and the repository has."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    named = [found.group().rstrip("/.") for found in _PATH.finditer(wish)]
    words = re.findall(r"(?<![\w/.-])[\w.-]+(?![\w/.-])", wish)
    return [name for name in dict.fromkeys([*named, *words]) if name in folders or name in files]


def _writable(places: Sequence[str], files: Sequence[str]) -> list[str]:
    """Where changes go: what the wish names, else the folders that hold sources."""
    if places:
        return list(places)
    tops = Counter(
        path.split("/")[0]
        for path in files
        if "/" in path and not path.startswith(".") and language_of(path) in _spoken()
    )
    tests = {path.split("/")[0] for path in files if is_test_path(path) and "/" in path}
    found = [name for name, _ in tops.most_common(4)]
    return list(dict.fromkeys([*found, *sorted(tests & tops.keys())])) or ["."]


def _tools(
    there: Mapping[str, Any],
    job: Job,
    *,
    changes: bool,
    programs: Sequence[str],
    writes: bool,
) -> list[str]:
    wanted = list(_READS)
    if job is not JOBS["research"]:
        wanted.append("analyze")
    if changes:
        wanted += ["apply_patch", "write_file"]
    elif writes:
        wanted.append("write_file")
    if programs:
        wanted.append("shell")
    return [name for name in wanted if name in there]


def _criteria(job: Job, *, changes: bool, runs: bool) -> list[str]:
    if changes and job is not JOBS["tests"]:
        criteria = ["Every change is named with file and line", "Nothing else was changed"]
    else:
        criteria = list(_CRITERIA[job.name])
    if runs:
        criteria.append("What was run is named, with how it ended")
    return [*criteria, "What was not done is listed"]


def _goal(wish: str) -> str:
    first = re.split(r"(?<=[.!?])\s+|\n", wish.strip(), maxsplit=1)[0].strip()
    return first if len(first) <= 300 else f"{first[:299]}…"


def _name(wish: str, taken: Collection[str]) -> str:
    """The first words that mean something, joined by '-', with a number where that is taken."""
    words = [word for word in re.findall(r"[a-z][a-z0-9]*", wish.lower()) if word not in _STOP]
    stem = "-".join(words[:3])[:48].strip("-") or "helper"
    if stem.startswith("sashizu"):
        stem = f"my-{stem}"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _instructions(
    wish: str, languages: Sequence[str], *, changes: bool, programs: Sequence[str]
) -> str:
    lines = [
        "These instructions were made by rules from the words of a wish, without a language model.",
        "",
        "The wish:",
        wish.strip(),
        "",
        "How to work:",
        "1. List the files in scope and read those that matter before you say or change anything.",
    ]
    if languages:
        lines.append(f"2. The repository is mostly {', '.join(languages[:3])}; keep to its ways.")
    else:
        lines.append("2. Find out which languages there are, and keep to their ways.")
    if changes:
        lines.append("3. Change as little as does it, and name every change with path:line.")
    else:
        lines.append("3. Change nothing but the report; give path:line for what you say.")
    if programs:
        lines.append(f"4. Run what shows that it works: {', '.join(programs)}.")
    lines.append("Say plainly what was done and what was not.")
    return "\n".join(lines)
