"""A small ONNX model, and the builds of ONNX Runtime for Windows that run it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from windows_site import PLATFORM, ROOT, uv

BUILDS = ("directml", "windowsml")
WEIGHTS = ((1.0, 2.0), (0.5, -1.0), (-2.0, 4.0))


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer; numbers below 128 only."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    assert len(value) < 1 << 14
    low, high = len(value) & 0x7F, len(value) >> 7
    return bytes([number << 3 | 2, *((low | 0x80, high) if high else (low,))]) + value


def declared(name: bytes, *shape: int) -> bytes:
    """A float tensor, as a graph declares it (ValueInfoProto)."""
    sides = b"".join(field(1, field(1, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sides)))


def node(kind: bytes, inputs: tuple[bytes, ...], output: bytes) -> bytes:
    return b"".join(field(1, one) for one in inputs) + field(2, output) + field(4, kind)


def model() -> bytes:
    """`y` is the input `x` by the weights, nothing below zero; `p` its softmax by rows."""
    numbers = struct.pack("<6f", *(one for row in WEIGHTS for one in row))
    weights = field(1, 3) + field(1, 2) + field(2, 1) + field(8, b"w") + field(9, numbers)
    graph = b"".join(
        (
            field(1, node(b"MatMul", (b"x", b"w"), b"m")),
            field(1, node(b"Relu", (b"m",), b"y")),
            field(1, node(b"Softmax", (b"y",), b"p")),
            field(2, b"g") + field(5, weights) + field(11, declared(b"x", 2, 3)),
            field(12, declared(b"y", 2, 2)) + field(12, declared(b"p", 2, 2)),
        )
    )
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13))


def site(build: str, folder: Path) -> Path:
    """That build and its NumPy, as the lock file has them, by digest."""
    asked, target = folder / f"{build}.txt", folder / build
    chosen = ("--no-default-groups", "--only-group", f"windows-{build}", "--no-emit-workspace")
    run = (uv(), "export", "-q", "--frozen", *chosen, "-o", str(asked))
    subprocess.run(run, cwd=ROOT, check=True, timeout=300)
    into = ("--target", str(target), "--only-binary", ":all:", "--require-hashes")
    run = (uv(), "pip", "install", "-q", "--no-deps", *PLATFORM, *into, "-r", str(asked))
    subprocess.run(run, cwd=ROOT, check=True, timeout=300)
    return target
