"""Runs the core of the driver on random calls, under clang's fuzzer and its sanitizers.

    python packages/gpu-driver/native/fuzz.py SECONDS [CORPUS]

`CORPUS` is a folder: what is in it is tried first, and what reaches something new is added. Ends
with 1 where a call was found that the core does not survive; that input is written beside.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

NATIVE = Path(__file__).resolve().parent
RUNTIME = "libclang_rt.fuzzer-x86_64.a"
FLAGS = (
    *("-g", "-O1", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"),
)
LONGEST_INPUT = 4096  # bytes; some hundred calls


def missing() -> str:
    """What is not there, as a sentence; empty if all is."""
    if shutil.which("clang") is None:
        return "there is no clang: install clang and libclang-rt-14-dev"
    words = ["clang", f"-print-file-name={RUNTIME}"]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        return "clang has no fuzzer here: install libclang-rt-14-dev"
    return ""


def build(folder: Path, *, native: Path = NATIVE) -> Path:
    """Compile the program that fuzzes. `native`: the folder with the sources.

    Raises:
        CalledProcessError: it does not compile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "fuzz_core"
    tests = native / "tests"
    sources = [*sorted(native.glob("core/*.c")), tests / "bench_os.c", tests / "fuzz_core.c"]
    subprocess.run(["clang", *FLAGS, "-o", str(program), *map(str, sources)], check=True)
    return program


def run(program: Path, corpus: Path, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Fuzz, with these options of libFuzzer; findings are written beside the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    long = ("-len_control=0", f"-max_len={LONGEST_INPUT}")  # short ones reach little
    fixed = (*long, f"-artifact_prefix={corpus.parent}/")
    return subprocess.run(
        ["nice", "-n", "10", str(program), *fixed, *options, str(corpus)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def main(words: list[str]) -> int:
    if not words or len(words) > 2 or not words[0].isdigit():
        print(__doc__, file=sys.stderr)
        return 2
    if lack := missing():
        print(lack, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(words[1]) if words[1:] else Path(folder) / "corpus"
        program = build(Path(folder))
        ended = run(program, corpus.resolve(), [f"-max_total_time={words[0]}"])
    lines = ended.stdout.splitlines()
    print(lines[-1] if ended.returncode == 0 and lines else ended.stdout)
    return 1 if ended.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
