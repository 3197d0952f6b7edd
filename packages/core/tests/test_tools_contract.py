from __future__ import annotations

from typing import ClassVar

import pytest
from sashizu_core.builtin.tools import file_tools
from sashizu_core.grants import PathRequest, PermissionRequest, Subject
from sashizu_core.specs import ToolSpec
from sashizu_core.testing import PolicyContract, ToolContract
from sashizu_core.types import Decision

SPECS = {spec.name: spec for spec in file_tools()}


class TestListFiles(ToolContract):
    @pytest.fixture
    def spec(self) -> ToolSpec:
        return SPECS["list_files"]


class TestReadFile(ToolContract):
    call: ClassVar = {"path": "notes.txt", "first": 2}

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return SPECS["read_file"]


class TestGrep(ToolContract):
    call: ClassVar = {"pattern": "t.o", "glob": "*.txt"}

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return SPECS["grep"]


class TestCodebaseSearch(ToolContract):
    call: ClassVar = {"query": "three"}

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return SPECS["codebase_search"]


class TestApplyPatch(ToolContract):
    call: ClassVar = {
        "patch": "--- a/notes.txt\n+++ b/notes.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+zwei\n"
    }

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return SPECS["apply_patch"]


class TestWriteFile(ToolContract):
    call: ClassVar = {"path": "new/file.txt", "content": "hello\n"}

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return SPECS["write_file"]


def test_every_tool_is_here_and_has_the_alias_of_codex() -> None:
    names = ["list_files", "read_file", "grep", "codebase_search", "apply_patch", "write_file"]
    assert list(SPECS) == names
    assert all(spec.aliases == (f"codex_{name}",) for name, spec in SPECS.items())


class NoSecrets:
    """Denies what has `secret` in its path, and allows the rest, which means nothing."""

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        if isinstance(request, PathRequest) and "secret" in request.path:
            return Decision("deny", f"{request.path} is secret", "no-secrets", "policy")
        return Decision("allow", "why not", "no-secrets", "policy")


class TestNoSecrets(PolicyContract):
    @pytest.fixture
    def policy(self) -> NoSecrets:
        return NoSecrets()
