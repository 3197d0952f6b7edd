"""Which language a file is written in, by its name, and how deeply we can look at it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ["CODE", "PARSED", "is_binary_name", "is_test_path", "language_by_text", "language_of"]

PARSED: dict[str, str] = {
    "Python": "syntax tree, ruff, own rules",
    "Markdown": "relative links",
    "JSON": "syntax",
    "TOML": "syntax, entry points of pyproject.toml",
    "GitHub workflow": "untrusted values in scripts",
}
"""The languages whose structure is looked at, and what is looked at. All other text is searched for
secrets, unresolved merges and switched-off certificate checks only."""

_BY_SUFFIX = {
    ".py": "Python", ".pyi": "Python", ".md": "Markdown", ".markdown": "Markdown",
    ".json": "JSON", ".toml": "TOML", ".yaml": "YAML", ".yml": "YAML", ".ini": "INI",
    ".cfg": "INI", ".rst": "reStructuredText", ".txt": "text", ".html": "HTML", ".htm": "HTML",
    ".css": "CSS", ".scss": "CSS", ".js": "JavaScript", ".mjs": "JavaScript",
    ".cjs": "JavaScript", ".jsx": "JavaScript", ".ts": "TypeScript", ".tsx": "TypeScript",
    ".vue": "Vue", ".svelte": "Svelte", ".go": "Go", ".rs": "Rust", ".java": "Java",
    ".kt": "Kotlin", ".kts": "Kotlin", ".scala": "Scala", ".c": "C", ".h": "C", ".cc": "C++",
    ".cpp": "C++", ".cxx": "C++", ".hpp": "C++", ".hh": "C++", ".cs": "C#", ".fs": "F#",
    ".swift": "Swift", ".m": "Objective-C", ".rb": "Ruby", ".php": "PHP", ".pl": "Perl",
    ".lua": "Lua", ".r": "R", ".jl": "Julia", ".dart": "Dart", ".ex": "Elixir",
    ".exs": "Elixir", ".erl": "Erlang", ".hs": "Haskell", ".clj": "Clojure", ".zig": "Zig",
    ".nim": "Nim", ".sh": "shell", ".bash": "shell", ".zsh": "shell", ".ps1": "PowerShell",
    ".bat": "batch", ".cmd": "batch", ".sql": "SQL", ".tf": "Terraform", ".proto": "Protobuf",
    ".graphql": "GraphQL", ".pyx": "Cython", ".pxd": "Cython", ".ipynb": "Jupyter notebook",
    ".env": "environment file", ".pem": "PEM", ".key": "PEM",
}  # fmt: skip

CODE = frozenset(_BY_SUFFIX.values()) - {
    "Python", "Markdown", "JSON", "TOML", "YAML", "INI", "reStructuredText", "text", "HTML", "CSS",
    "SCSS", "SQL", "Protobuf", "GraphQL", "environment file", "PEM",
}  # fmt: skip
"""Programming languages whose functions we do not know."""

_BY_NAME = {
    "dockerfile": "Dockerfile", "containerfile": "Dockerfile", "makefile": "Make",
    "gnumakefile": "Make", "cmakelists.txt": "CMake", "jenkinsfile": "Groovy",
    ".env": "environment file", ".npmrc": "INI", ".pypirc": "INI",
}  # fmt: skip

_BINARY = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".bmp",
        ".ico",
        ".webp",
        ".tif",
        ".tiff",
        ".pdf",
        ".zip",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".7z",
        ".tar",
        ".tgz",
        ".whl",
        ".so",
        ".dll",
        ".dylib",
        ".exe",
        ".o",
        ".a",
        ".pyc",
        ".class",
        ".jar",
        ".woff",
        ".woff2",
        ".ttf",
        ".otf",
        ".eot",
        ".mp3",
        ".mp4",
        ".ogg",
        ".wav",
        ".avi",
        ".mov",
        ".db",
        ".sqlite",
        ".parquet",
        ".npy",
        ".npz",
        ".pkl",
        ".bin",
        ".dat",
        ".mo",
    ]
)

_TEST_FOLDERS = frozenset(
    {"test", "tests", "testing", "testsuite", "test_suite", "__tests__", "spec", "specs"}
    | {"fixtures", "testdata", "test_data", "e2e"}
)


def language_of(path: str) -> str | None:
    """The language of a file, or None when its name does not tell."""
    place = PurePosixPath(path)
    if place.suffix in (".yml", ".yaml") and place.parts[-3:-1] == (".github", "workflows"):
        return "GitHub workflow"
    name = place.name.lower()
    if name.startswith(".env."):
        return "environment file"
    return _BY_NAME.get(name) or _BY_SUFFIX.get(place.suffix.lower())


def language_by_text(text: str) -> str:
    """The language of a text whose name does not tell: by its first line."""
    first = text.split("\n", 1)[0]
    if first.startswith("#!"):
        if "python" in first:
            return "Python"
        if re.search(r"\b(ba|z|da|k)?sh\b", first):
            return "shell"
    return "other text"


def is_binary_name(path: str) -> bool:
    """Whether a name says that the file is no text."""
    return PurePosixPath(path).suffix.lower() in _BINARY


def is_test_path(path: str) -> bool:
    """Whether a file belongs to tests, where planted secrets and bad calls are no defects."""
    place = PurePosixPath(path)
    name = place.name.lower()
    return (
        any(part.lower() in _TEST_FOLDERS for part in place.parts[:-1])
        or name.startswith(("test_", "tests."))
        or name == "conftest.py"
        or place.stem.lower().endswith(("_test", "_tests", ".test", ".spec"))
    )
