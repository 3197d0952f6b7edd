"""Which backend this system gets."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sashizu_winai.backend import Backend
from sashizu_winai.unavailable import UnavailableBackend

if TYPE_CHECKING:
    from sashizu_winai.unlocking import Unlock

__all__ = ["backend_of_this_system", "chosen_backend"]


def chosen_backend(fake: bool, unlock: Unlock | None = None) -> Backend:
    """The fake where the settings want it, else the one of this system.

    `unlock` is told to Windows before the language model is asked for anything.
    """
    if fake:
        from sashizu_winai.fake import FakeBackend

        return FakeBackend()
    return backend_of_this_system(unlock=unlock)


def backend_of_this_system(
    platform: str = sys.platform, *, unlock: Unlock | None = None
) -> Backend:
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
    return PyWinRtBackend(unlock=unlock)
