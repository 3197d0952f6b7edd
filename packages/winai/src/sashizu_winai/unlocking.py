"""The lock of Microsoft before the language model: a token for one package, and what goes with it.

A limited access feature is unlocked by a token that Microsoft gives to a publisher for a package,
and by a sentence, the attestation, that comes with it. The token is a secret: it stands in a
variable of the environment, and is in no error, no record and no `repr`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sashizu_winai.errors import Denied
from sashizu_winai.settings import WinAiSettings

__all__ = ["FEATURE", "OPERATION", "Unlock", "UnlockStatus", "judge", "unlock_of"]

FEATURE = "com.microsoft.windows.ai.languagemodel"
OPERATION = "unlock the language model"

UnlockStatus = Literal["available", "available_without_token", "unavailable", "unknown"]
"""What Windows answers; the names are those of its `LimitedAccessFeatureStatus`."""

_REFUSED: dict[UnlockStatus, tuple[str, str]] = {
    "unavailable": (
        "Windows does not take the token for this program",
        "run the package that Microsoft gave the token for, with the attestation as it was given",
    ),
    "unknown": (
        "Windows does not know whether it is unlocked",
        "bring Windows up to date: there are builds without the feature",
    ),
}


@dataclass(frozen=True, slots=True)
class Unlock:
    """What is told to Windows. `variable` is where the token comes from, for whoever looks for it.

    An empty token is one that is not there.
    """

    token: str = field(repr=False)
    attestation: str
    variable: str

    def checked(self) -> str:
        """The token.

        Raises:
            Denied: the variable is not set.
        """
        if not self.token:
            raise Denied(
                OPERATION,
                f"the variable {self.variable} is not set, and [winai.language_model] names it",
                remedy="put the token of Microsoft into it, or take token_env out of the settings",
            )
        return self.token


def unlock_of(table: WinAiSettings, env: Mapping[str, str] = os.environ) -> Unlock | None:
    """What the settings and the environment have; None where the settings name no token."""
    model = table.language_model
    if not model.token_env:
        return None
    return Unlock(env.get(model.token_env, "").strip(), model.attestation, model.token_env)


def judge(status: UnlockStatus) -> None:
    """Go on where it is unlocked.

    Raises:
        Denied: it is not.
    """
    if (refused := _REFUSED.get(status)) is not None:
        found, remedy = refused
        raise Denied(OPERATION, f"{FEATURE} is {status}: {found}", remedy=remedy)
