"""Builds the module for a Debian kernel and boots that kernel in an emulator with it.

Nothing is installed and nothing on this machine is changed: the kernels lie in a folder that
`fetch-kernels` fills, and the guest has no disk and no network. Tests use it; by hand:

    python packages/gpu-driver/native/linux/guest.py .kernels
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent
NEEDED = ("qemu-system-x86_64", "busybox", "gcc", "make", "sparse")
TROUBLE = re.compile(r"BUG:|WARNING:|Oops|general protection|refcount_t|leaked|Call Trace")
EMULATOR = (
    *("nice", "-n", "10", "qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-cpu", "max"),
    *("-smp", "2", "-m", "1024", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x01"),
)
# Single quotes: busybox sh. `run` remembers that something failed and goes on.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
failed=0
run() {{ echo "## $*"; "$@" || {{ echo "!! $* ended with $?"; failed=1; }}; }}
{commands}
echo "## dmesg"
dmesg -r | grep -E '^<[0-4]>' | grep -v -e 'out-of-tree module' -e 'verification failed'
/leave $failed
poweroff -f
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    version: str
    image: Path
    headers: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """`passed`: every command ended well, and the kernel had nothing to complain about."""

    passed: bool
    text: str


def missing(folder: Path) -> str:
    """What is not there, as a sentence; empty if all is."""
    programs = [name for name in NEEDED if shutil.which(name) is None]
    if programs:
        return f"not found: {', '.join(programs)}; install qemu-system-x86, busybox-static, sparse"
    if not kernels(folder):
        return (
            f"no kernels in {folder}: run packages/gpu-driver/native/linux/fetch-kernels {folder}"
        )
    return ""


def kernels(folder: Path) -> list[Kernel]:
    """The kernels that `fetch-kernels` has put there."""
    return [
        Kernel(
            found.parent.name,
            found.parent / "boot" / f"vmlinuz-{found.parent.name}",
            found.parent / "usr" / "src" / f"linux-headers-{found.parent.name}",
        )
        for found in sorted(folder.glob("*/complete"))
    ]


def unpack_source(into: Path) -> None:
    """Put the source of the module there, from the archive that is given to users."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(NATIVE / "linux" / "source.py"), folder]
        made = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        strip = ("--strip-components=1", "-C", str(into))
        subprocess.run(["tar", "-xzf", made, *strip], check=True)


def build_module(
    kernel: Kernel, into: Path, *, change: Mapping[str, Sequence[tuple[str, str]]] | None = None
) -> str:
    """Build `into/sashizu.ko` with every warning of gcc and sparse an error; what make said.

    `change` replaces texts of a source, by which a test sees that a check can fail.

    Raises:
        CalledProcessError: it does not build; its `stdout` says why.
    """
    unpack_source(into)
    for name, changes in (change or {}).items():
        text = (into / name).read_text("utf-8")
        for old, new in changes:
            assert old in text, f"{old!r} is not in {name}"
            text = text.replace(old, new, 1)
        (into / name).write_text(text, "utf-8")
    flags = ("W=1", "C=2", "KCFLAGS=-Werror", "CF=-Wsparse-error", "CONFIG_DEBUG_INFO_BTF_MODULES=")
    made = subprocess.run(
        ["nice", "-n", "10", "make", "-C", str(kernel.headers), f"M={into}", *flags, "modules"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    subprocess.run(["strip", "--strip-debug", str(into / "sashizu.ko")], check=True)
    return made.stdout


def build_programs(into: Path) -> list[Path]:
    """The C programs of `tests`, static."""
    into.mkdir(parents=True, exist_ok=True)
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
    programs = []
    for source in sorted((NATIVE / "linux" / "tests").glob("*.c")):
        programs.append(into / source.stem)
        subprocess.run(["gcc", *flags, "-o", str(programs[-1]), str(source)], check=True)
    return programs


def boot(kernel: Kernel, files: Mapping[str, Path], commands: Iterable[str], limit: float) -> Ended:
    """Boot with these files (path in the guest: path here), run the commands, and look at the log.

    Args:
        limit: Seconds after which the guest counts as hanging.
    """
    init = INIT.format(commands="\n".join(commands))
    busybox = shutil.which("busybox")
    assert busybox is not None
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "initrd"
        image.write_bytes(_packed({**files, "bin/busybox": Path(busybox)}, init))
        line = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off"
        words = [*EMULATOR, "-kernel", str(kernel.image), "-initrd", str(image), "-append", line]
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as emulator:
            try:
                raw, _ = emulator.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                emulator.kill()
                raw = emulator.communicate()[0] + b"\n!! the guest hangs\n"
            code = emulator.returncode
    text = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1bc|\r", "", raw.decode("utf-8", "replace"))
    log = text.partition("## dmesg")[2]
    return Ended(
        code == 1 and not TROUBLE.search(text) and "not ok" not in text and bool(log), text
    )


def _packed(files: Mapping[str, Path], init: str) -> bytes:
    """A compressed cpio archive in the form that a kernel unpacks at its start."""
    folders = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    folders |= {"proc", "sys", "dev", "tmp", "bin"}
    parts = [_entry(name, b"", stat.S_IFDIR | 0o755) for name in sorted(folders)]
    parts += [
        _entry(name, path.read_bytes(), stat.S_IFREG | path.stat().st_mode & 0o777)
        for name, path in files.items()
    ]
    parts += [_entry("init", init.encode(), stat.S_IFREG | 0o755), _entry("TRAILER!!!", b"", 0)]
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(b"".join(parts)) + packer.flush()


def _entry(name: str, content: bytes, mode: int) -> bytes:
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, content))


def main(folder: str) -> int:
    if lack := missing(Path(folder)):
        print(lack, file=sys.stderr)
        return 1
    passed = True
    for kernel in kernels(Path(folder).resolve()):
        with tempfile.TemporaryDirectory() as work:
            build_module(kernel, Path(work) / "module")
            files = {path.name: path for path in build_programs(Path(work) / "programs")}
            files["sashizu.ko"] = Path(work) / "module" / "sashizu.ko"
            commands = [
                "run insmod /sashizu.ko",
                "run /checks",
                "run /fuzz 20",
                "run rmmod sashizu",
            ]
            ended = boot(kernel, files, commands, 240)
        print(ended.text)
        print(f"{kernel.version}: {'passed' if ended.passed else 'FAILED'}")
        passed = passed and ended.passed
    return 0 if passed else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ".kernels"))
