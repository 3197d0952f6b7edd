"""Writes the source of the module as one archive, for DKMS and for building by hand.

    python packages/gpu-driver/native/linux/source.py FOLDER

The archive unpacks to `sashizu-VERSION/`, and is the same bytes whenever it is made.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent
WHOLE = ("Kbuild", "COPYING", "include/*.h", "core/*.[ch]", "linux/*.[ch]", "linux/*.rules")


def main(words: list[str]) -> int:
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    project = tomllib.loads((NATIVE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    name = f"sashizu-{project['version']}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in files(project["version"]):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    target = Path(words[0]) / f"{name}.tar.gz"
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    print(target)
    return 0


def files(version: str) -> Iterator[tuple[str, bytes]]:
    """What is in the archive: path and content."""
    for pattern in WHOLE:
        for path in sorted(NATIVE.glob(pattern)):
            yield path.relative_to(NATIVE).as_posix(), path.read_bytes()
    recipe = (NATIVE / "linux" / "dkms.conf.in").read_text("utf-8")
    yield "dkms.conf", recipe.replace("@VERSION@", version).encode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
