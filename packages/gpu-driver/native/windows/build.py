"""Builds the Windows driver with clang and lld, and checks what came out.

    python packages/gpu-driver/native/windows/build.py FOLDER [--wine]

`--wine` builds the one that tests load under Wine, which lacks some of what Windows has. Needs
clang, lld and the headers and import libraries of mingw-w64; no Windows.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent
HEADERS = Path("/usr/share/mingw-w64/include")
LIBRARIES = Path("/usr/x86_64-w64-mingw32/lib")
IMPORTS = ("libntoskrnl.a", "libhal.a")
COMPILE = (
    *("--target=x86_64-w64-mingw32", "-O2", "-fms-extensions", "-std=gnu11"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-multichar", "-Wno-unused-function"),
    *("-isystem", str(HEADERS), "-isystem", str(HEADERS / "ddk")),
)
LINK = (
    *("/driver", "/subsystem:native", "/entry:DriverEntry", "/nodefaultlib"),
    *("/dynamicbase", "/nxcompat", "/integritycheck"),
)
NATIVE_SUBSYSTEM, AMD64 = 1, 0x8664
WANTED = 0x40 | 0x80 | 0x100  # dynamic base, integrity check, no execution of data
WRITE_AND_EXECUTE = 0x80000000 | 0x20000000


def missing() -> str:
    """What is not there, as a sentence; empty if all is."""
    lacking = [name for name in ("clang", "lld-link") if shutil.which(name) is None]
    lacking += [str(path) for path in (HEADERS / "ddk", LIBRARIES) if not path.is_dir()]
    if lacking:
        return f"not found: {', '.join(lacking)}; install clang, lld and gcc-mingw-w64-x86-64"
    return ""


def build(folder: Path, *, wine: bool = False) -> Path:
    """Compile and link; the driver's file.

    Raises:
        CalledProcessError: it does not compile, or needs what no system exports.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # one unit for all that sees the kernel's headers: they define functions
    layer = folder / "layer.c"
    layer.write_text("".join(f'#include "{one}"\n' for one in sorted(NATIVE.glob("windows/*.c"))))
    objects = []
    for source in [*sorted(NATIVE.glob("core/*.c")), layer]:
        objects.append(str(folder / f"{source.stem}.obj"))
        words = [*COMPILE, *(["-DSZD_WINE"] if wine else []), "-c", str(source)]
        subprocess.run(["clang", *words, "-o", objects[-1]], check=True)
    driver = folder / "sashizu.sys"
    libraries = [str(LIBRARIES / name) for name in IMPORTS]
    subprocess.run(["lld-link", *LINK, f"/out:{driver}", *objects, *libraries], check=True)
    return driver


def flaws(image: bytes) -> list[str]:
    """What Windows, or a person who cares, would object to in this file."""
    found = []
    header = struct.unpack_from("<I", image, 0x3C)[0]
    machine, sections = struct.unpack_from("<HH", image, header + 4)
    optional_size, flags = struct.unpack_from("<HH", image, header + 20)
    optional = header + 24
    subsystem, wanted = struct.unpack_from("<HH", image, optional + 68)
    exports = struct.unpack_from("<I", image, optional + 112)[0]
    if machine != AMD64 or subsystem != NATIVE_SUBSYSTEM:
        found.append(f"machine {machine:#x}, subsystem {subsystem}: not a driver for x86-64")
    if wanted & WANTED != WANTED:
        found.append(f"characteristics {wanted:#x} lack some of {WANTED:#x}")
    if flags & 1:
        found.append("it cannot be loaded at another address")
    if exports:
        found.append("it exports names")
    for number in range(sections):
        at = optional + optional_size + 40 * number
        rights = struct.unpack_from("<I", image, at + 36)[0]
        if rights & WRITE_AND_EXECUTE == WRITE_AND_EXECUTE:
            found.append(f"section {number} can be written and executed")
    return found


def imports(driver: Path) -> list[str]:
    """The names that it takes from the kernel."""
    said = subprocess.run(
        ["x86_64-w64-mingw32-objdump", "-p", str(driver)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    table = said.partition("The Import Tables")[2].partition("The Export Tables")[0]
    rows = (line.split() for line in table.splitlines() if line.startswith("\t"))
    return sorted({row[-1] for row in rows if len(row) == 3 and row[1].isdigit()})


def main(words: list[str]) -> int:
    if not words or len(words) > 2 or words[1:] not in ([], ["--wine"]):
        print(__doc__, file=sys.stderr)
        return 2
    if lack := missing():
        print(lack, file=sys.stderr)
        return 1
    driver = build(Path(words[0]), wine=bool(words[1:]))
    found = flaws(driver.read_bytes())
    print(driver, *imports(driver), *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
