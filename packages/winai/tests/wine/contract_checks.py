"""The contract of all backends, kept by the one that asks Windows."""

import pytest
from sashizu_winai._winrt import PyWinRtBackend
from test_winai_backends import (
    test_an_action_that_is_not_there_is_a_typed_error,
    test_every_probe_says_why_and_what_is_not_ready_cannot_be_used,
    test_it_can_be_closed_twice,
    test_what_is_streamed_is_what_is_given,
)

__all__ = [
    "test_an_action_that_is_not_there_is_a_typed_error",
    "test_every_probe_says_why_and_what_is_not_ready_cannot_be_used",
    "test_it_can_be_closed_twice",
    "test_what_is_streamed_is_what_is_given",
]


@pytest.fixture(params=["ready", "not ready"])
async def backend(windows, request):
    if request.param == "not ready":
        windows.models.state = 1
    backend = PyWinRtBackend()
    yield backend
    await backend.aclose()
