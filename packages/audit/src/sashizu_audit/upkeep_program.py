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

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Do what these words say; who else is at it need not be waited for."""
    folder, *tasks = words
    try:
        if "seal" in tasks:
            from sashizu_audit.sealing import seal_record

            seal_record(Path(folder))
        if "sign" in tasks:
            _sign(Path(folder))
    except SashizuError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _sign(folder: Path) -> None:
    from sashizu_audit.keys import signer_of
    from sashizu_audit.signing import make_checkpoint
    from sashizu_audit.verify import record_id

    make_checkpoint(folder, signer_of(folder, state_home() / "keys", record_id(folder)))


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(10)  # nobody waits for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    sys.exit(main(sys.argv[1:]))
