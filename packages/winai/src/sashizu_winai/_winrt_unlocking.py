"""The limited access feature of the language model. Unverified on Windows, like `_winrt`."""

from __future__ import annotations

from winrt.windows.applicationmodel import LimitedAccessFeatures, LimitedAccessFeatureStatus

from sashizu_winai.errors import error_of
from sashizu_winai.unlocking import FEATURE, OPERATION, Unlock, UnlockStatus, judge

__all__ = ["unlocked"]

_FAILED = 0x80004005

_STATUSES: dict[int, UnlockStatus] = {
    LimitedAccessFeatureStatus.UNAVAILABLE: "unavailable",
    LimitedAccessFeatureStatus.AVAILABLE: "available",
    LimitedAccessFeatureStatus.AVAILABLE_WITHOUT_TOKEN: "available_without_token",
}


def unlocked(given: Unlock) -> None:
    """Have Windows unlock the feature for this process.

    Raises:
        Denied: the token is not there, or not taken.
        WindowsAiError: Windows could not be asked.
    """
    token = given.checked()
    try:
        found = LimitedAccessFeatures.try_unlock_feature(FEATURE, token, given.attestation)
        status = found.status
    except OSError as error:  # its words are left out: they may repeat what was given
        raise error_of(OPERATION, getattr(error, "winerror", None) or _FAILED) from None
    judge(_STATUSES.get(status, "unknown"))
