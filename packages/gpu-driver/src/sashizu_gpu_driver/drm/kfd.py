"""Memory of compute programs on AMD's GPUs, which older kernels tell nowhere else."""

from __future__ import annotations

from pathlib import Path

from sashizu_gpu_driver.drm.files import number, pairs

__all__ = ["used_by"]


def used_by(root: Path, address: str) -> dict[int, int]:
    """Bytes of device memory by process, of the GPU at an address of the bus; of our own only."""
    base = root / "sys/class/kfd/kfd"
    gpu = _gpu_id(base, address)
    found: dict[int, int] = {}
    if gpu is None:
        return found
    for folder in base.glob("proc/*"):
        used = number(folder / f"vram_{gpu}")
        if folder.name.isdecimal() and used is not None:
            found[int(folder.name)] = used
    return found


def _gpu_id(base: Path, address: str) -> int | None:
    for node in base.glob("topology/nodes/*"):
        facts = pairs(node / "properties", " ")
        try:
            domain, place = int(facts.get("domain", "0")), int(facts["location_id"])
        except (KeyError, ValueError):
            continue
        where = f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"
        if where == address:
            return number(node / "gpu_id")
    return None
