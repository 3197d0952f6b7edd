"""Builds the Windows driver with clang and lld, and checks what came out.

    python packages/gpu-driver/native/windows/build.py FOLDER [--wine]

`--wine` builds the one that tests load under Wine, which lacks some of what Windows has. Needs
clang, lld and the headers and import libraries of mingw-w64; no Windows.
"""

from __future__ import annotations

import shutil
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


def missing() -> str:
    """What is not there, as a sentence; empty if all is."""
    lacking = [name for name in ("clang", "lld-link") if shutil.which(name) is None]
    lacking += [str(path) for path in (HEADERS / "ddk", LIBRARIES) if not path.is_dir()]
    if lacking:
        return f"not found: {', '.join(lacking)}; install clang, lld and gcc-mingw-w64-x86-64"
    return ""


def build(folder: Path, *, wine: bool = False, native: Path = NATIVE) -> Path:
    """Compile and link; the driver's file. `native`: the folder with the sources.

    Raises:
        CalledProcessError: it does not compile, or needs what no system exports.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # one unit for all that sees the kernel's headers: they define functions
    layer = folder / "layer.c"
    layer.write_text("".join(f'#include "{one}"\n' for one in sorted(native.glob("windows/*.c"))))
    objects = []
    for source in [*sorted(native.glob("core/*.c")), layer]:
        objects.append(str(folder / f"{source.stem}.obj"))
        words = [*COMPILE, *(["-DSZD_WINE"] if wine else []), "-c", str(source)]
        subprocess.run(["clang", *words, "-o", objects[-1]], check=True)
    driver = folder / "sashizu.sys"
    libraries = [str(LIBRARIES / name) for name in IMPORTS]
    subprocess.run(["lld-link", *LINK, f"/out:{driver}", *objects, *libraries], check=True)
    return driver


def main(words: list[str]) -> int:
    if not words or len(words) > 2 or words[1:] not in ([], ["--wine"]):
        print(__doc__, file=sys.stderr)
        return 2
    if lack := missing():
        print(lack, file=sys.stderr)
        return 1
    from image import Image, flaws

    driver = build(Path(words[0]), wine=bool(words[1:]))
    taken, found = Image.of(driver).imports(), flaws(Image.of(driver))
    names = [f"{library}!{name}" for library, names in taken.items() for name in names]
    print(driver, *names, *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
