"""Which backend this system gets."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from sashizu_winai.backend import Backend
from sashizu_winai.unavailable import UnavailableBackend

__all__ = ["backend_of_this_system", "chosen_backend"]


def chosen_backend(fake: bool) -> Backend:
    """The fake where the settings want it, else the one of this system."""
    if fake:
        from sashizu_winai.fake import FakeBackend

        return FakeBackend()
    return backend_of_this_system()


def backend_of_this_system(platform: str = sys.platform) -> Backend:
    """The one that asks Windows, or one that says why nothing can be asked."""
    if platform != "win32":
        return UnavailableBackend()
    if find_spec("winrt") is None:
        return UnavailableBackend(
            "the projections of Windows are not installed",
            remedy="pip install --force-reinstall sashizu-winai",
            missing=True,
        )
    try:
        from sashizu_winai._winrt import PyWinRtBackend
    except (ImportError, OSError) as error:
        return UnavailableBackend(
            f"the projections of Windows cannot be loaded: {error}",
            remedy="pip install --force-reinstall sashizu-winai",
            missing=True,
        )
    return PyWinRtBackend()
