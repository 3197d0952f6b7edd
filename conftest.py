"""What all tests share."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["warm_programs"]
if sys.platform == "win32":
    pytest_plugins.append("windows_outcome")

# A busy machine is no fault of what is tested. In CI hypothesis has a profile of its own for that.
if "CI" not in os.environ:
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on trio and on asyncio too: the fast set has the latter alone."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("anyio_backend") == "trio":
            item.add_marker("trio")
