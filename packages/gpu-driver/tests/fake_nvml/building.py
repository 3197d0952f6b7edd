"""Build the fake libnvidia-ml: what `nvml.c` knows, and every other symbol as 'not supported'."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "libnvidia-ml.so.1"
GIB = 1024**3

ONE_GPU: Mapping[str, str] = {
    "count": "1",
    "0.uuid": "GPU-11111111-2222-3333-4444-555555555555",
    "0.name": "NVIDIA Imaginary 100",
    "0.pci": "0000:65:00",
    "0.memory": f"{80 * GIB} {GIB} {59 * GIB} {20 * GIB}",
    "0.utilization": "37 12",
    "0.temperature": "54",
    "0.power": "312000",
    "0.limit": "700000",
    "0.energy": "123456789",
    "0.clock_core": "1410",
    "0.clock_memory": "2619",
    "0.fan": "!3",
    "0.pstate": "0",
    "0.throttle": "4",
    "0.compute": f"4242:{18 * GIB}",
    "0.mig": "!3",
}


def symbols() -> set[str]:
    """Every function that the bindings look for."""
    import pynvml

    text = Path(pynvml.__file__).read_text("utf-8")
    return set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', text))


def build(folder: Path) -> Path:
    """The library in a folder; built anew only where its source changed."""
    source = (HERE / "nvml.c").read_text("utf-8")
    known = set(re.findall(r"^(?:int|const char \*) ?\*?(nvml\w+)\(", source, re.MULTILINE))
    stubs = "".join(f"int {name}(void) {{ return 3; }}\n" for name in sorted(symbols() - known))
    whole = source + stubs
    place = folder / hashlib.sha256(whole.encode()).hexdigest()[:16]
    library = place / NAME
    if not library.exists():
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            (Path(scratch) / "all.c").write_text(whole, "utf-8")
            subprocess.run(
                [
                    *("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
                    *("-D_GNU_SOURCE", f"-Wl,-soname,{NAME}"),
                    *("-o", f"{scratch}/{NAME}", f"{scratch}/all.c"),
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            (Path(scratch) / NAME).replace(library)
    return library


def write_state(file: Path, state: Mapping[str, str]) -> None:
    """Change the GPUs, in one step."""
    part = file.with_name(f".{file.name}.part")
    part.write_text("".join(f"{key} {value}\n" for key, value in state.items()), "ascii")
    part.replace(file)


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
