"""The program that `sashizu_audit.upkeep` starts: `FOLDER [seal] [sign]`.

Ends with 0, or with 1 and what failed on standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sashizu_core.errors import SashizuError
from sashizu_core.home import state_home

from sashizu_audit.writer_lines import SYSTEM_CLOCK, Clock

__all__ = ["main"]


def main(words: Sequence[str], clock: Clock = SYSTEM_CLOCK) -> int:
    """Do what these words say; who else is at it need not be waited for."""
    folder, *tasks = words
    try:
        if "seal" in tasks:
            from sashizu_audit.sealing import seal_record

            seal_record(Path(folder))
        if "sign" in tasks:
            _sign(Path(folder), clock)
    except (OSError, SashizuError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _sign(folder: Path, clock: Clock) -> None:
    from sashizu_audit.keys import signer_of
    from sashizu_audit.signing import sign_now, signing_lock
    from sashizu_audit.upkeep import is_silent
    from sashizu_audit.verify import record_id

    signer = signer_of(folder, state_home() / "keys", record_id(folder))
    with signing_lock(folder):
        if is_silent(folder, clock):  # of several who look after it, one was first
            signer.renew()
            sign_now(folder, signer)


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(10)  # nobody waits for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    sys.exit(main(sys.argv[1:]))
