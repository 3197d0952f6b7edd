"""Bubblewrap does what every sandbox has to do."""

from __future__ import annotations

import sys
from functools import cache

import pytest
from sashizu_core.settings import Settings
from sashizu_core.specs import SandboxSpec
from sashizu_core.testing import SandboxContract
from sashizu_sandbox.plugin import register_sandboxes


@cache
def _spec() -> tuple[SandboxSpec | None, str]:
    """The sandbox, or why there is none here."""
    for spec in register_sandboxes(Settings()):
        if spec.name == "bubblewrap":
            info = spec.probe()
            return spec, "" if info.kind != "none" else f"{info.reason}; {info.remedy}"
    return None, f"bubblewrap is not for {sys.platform}"


@pytest.mark.sandbox
class TestBubblewrap(SandboxContract):
    @pytest.fixture
    def spec(self) -> SandboxSpec:
        spec, why_not = _spec()
        if spec is None or why_not:
            pytest.skip(f"no sandbox can be had: {why_not}")
        return spec
