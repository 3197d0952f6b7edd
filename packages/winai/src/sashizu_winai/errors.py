"""What can go wrong with Windows AI, and what to do then. No bare `OSError` leaves the package.

```text
WindowsAiError        .operation .hresult .remedy .state
├─ Missing            a class, library, package or interface is not there
├─ Denied             no package identity, no capability, no token, switched off, or no right
├─ Unsupported        this system, its hardware or its build cannot do it
├─ NotReady           it has to be downloaded or prepared first
├─ TimedOut           it did not answer in time; the operation was cancelled
├─ Crashed            the component that answers ended while it was asked
└─ Failed             anything else; the HRESULT says more
```

The codes are Microsoft's own (winerror.h, and those of the Windows App SDK).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sashizu_core.errors import SashizuError

from sashizu_winai.capabilities import Capability, Probe, State

__all__ = [
    "HRESULTS",
    "Crashed",
    "Denied",
    "Failed",
    "Meaning",
    "Missing",
    "NotReady",
    "TimedOut",
    "Unsupported",
    "WindowsAiError",
    "error_of",
]

_MOST_TEXT = 300


class WindowsAiError(SashizuError):
    """An operation of Windows AI failed.

    `operation` is what was asked, `found` what Windows answered, in words; `hresult` the unsigned
    32-bit code, None where there was none; `remedy` what a person can do. `state` is the state of
    a probe that ends like this.
    """

    state: ClassVar[State] = "not_ready"

    def __init__(
        self, operation: str, found: str, *, hresult: int | None = None, remedy: str = ""
    ) -> None:
        code = "" if hresult is None else f" (0x{hresult:08X})"
        then = f"; {remedy}" if remedy else ""
        super().__init__(f"{operation}: {found}{code}{then}")
        self.operation = operation
        self.found = found
        self.hresult = hresult
        self.remedy = remedy

    def probe(self, capability: Capability) -> Probe:
        """The probe of a capability that ended with this."""
        return Probe(capability, self.state, self.found, self.remedy, self.hresult)


class Missing(WindowsAiError):
    """Something is not installed, or an interface is not there in this build."""

    state = "missing"


class Denied(WindowsAiError):
    """Windows refuses this program."""

    state = "denied"


class Unsupported(WindowsAiError):
    """This system cannot do it."""

    state = "unsupported"


class NotReady(WindowsAiError):
    """It is not ready yet."""


class TimedOut(WindowsAiError):
    """No answer in time; the operation was cancelled."""


class Crashed(WindowsAiError):
    """The component ended while it was asked. What it was asked for may have happened."""


class Failed(WindowsAiError):
    """Anything else."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an HRESULT means here: which error it becomes, the words for it, and the remedy."""

    error: type[WindowsAiError]
    found: str
    remedy: str


_IDENTITY = "run it from a package that has an identity (an MSIX, or a sparse package)"
_UPDATE = "bring Windows up to date, and see docs/windows-ai.md for the build that each part needs"
_RUNTIME = "install the Windows App Runtime 2.x"
_AGAIN = "ask again; if it happens every time, look into the event log of Windows"

HRESULTS: dict[int, Meaning] = {
    0x80040154: Meaning(Missing, "the class is not registered on this Windows", _UPDATE),
    0x80040111: Meaning(Missing, "the library of the class does not serve it", _UPDATE),
    0x80080005: Meaning(NotReady, "the server of the class did not start", _AGAIN),
    0x80070005: Meaning(
        Denied,
        "access is denied: the program is not packaged, or the feature is not unlocked for it",
        f"{_IDENTITY} and that declares what it uses; the language model needs a token as well, "
        "which [winai.language_model] names",
    ),
    0x80004005: Meaning(
        Failed,
        "an unspecified failure",
        "if the message says 'Not declared by app', declare systemAIModels in the manifest",
    ),
    0x80004001: Meaning(Unsupported, "this build does not implement it", _UPDATE),
    0x80004002: Meaning(Missing, "the object lacks the interface: an older build", _UPDATE),
    0x800401F0: Meaning(
        Failed, "COM is not initialised on this thread", "call it through WindowsAiRuntime"
    ),
    0x80010106: Meaning(
        Failed,
        "the thread already has another kind of COM apartment",
        "use a process that has not initialised a single-threaded apartment",
    ),
    0x80073D54: Meaning(Denied, "the process has no package identity", _IDENTITY),
    0x80670016: Meaning(Missing, "the Windows App Runtime is not there", _RUNTIME),
    0x8007007E: Meaning(Missing, "a library that it needs is not there", _RUNTIME),
    0x887A0004: Meaning(
        Unsupported, "the graphics device or its driver cannot do it", "use another provider"
    ),
    0x80073D3B: Meaning(
        NotReady,
        "the package or model could not be deployed",
        "check the connection, the free space and Windows Update, then ask again",
    ),
    0xA0EE4005: Meaning(
        Failed, "our own implementation raised an exception in a call from Windows", _AGAIN
    ),
    0x800706BA: Meaning(Crashed, "the component is not there any more", _AGAIN),
    0x800706BE: Meaning(Crashed, "the component ended during the call", _AGAIN),
    0x80010108: Meaning(Crashed, "the object lost its component", _AGAIN),
}
"""Every code that is known to come up; others become `Failed`."""

_IDENTITY_CODE = 15700
"""APPMODEL_ERROR_NO_PACKAGE, the Win32 form of 0x80073D54."""


def error_of(operation: str, hresult: int, message: str = "") -> WindowsAiError:
    """The error that an HRESULT becomes.

    Args:
        operation: what was asked.
        hresult: signed or unsigned, or the bare Win32 code 15700.
        message: what Windows said with it; untrusted, shortened, without control characters.
    """
    code = 0x80073D54 if hresult == _IDENTITY_CODE else hresult & 0xFFFFFFFF
    said = "".join(char if char.isprintable() else " " for char in message)[:_MOST_TEXT].strip()
    if code == 0x80004005 and "not declared by app" in said.lower():
        return Denied(
            operation,
            "the program does not declare the capability",
            hresult=code,
            remedy="declare systemAIModels in the package's manifest",
        )
    meaning = HRESULTS.get(code)
    if meaning is None:
        return Failed(operation, said or "an unknown failure", hresult=code, remedy=_AGAIN)
    found = f"{meaning.found}: {said}" if said and meaning.error is Failed else meaning.found
    return meaning.error(operation, found, hresult=code, remedy=meaning.remedy)
