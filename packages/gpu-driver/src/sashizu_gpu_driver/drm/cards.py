"""The devices that the kernel has drivers for: `/sys/class/drm` and `/sys/class/accel`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sashizu_gpu_driver.drm.files import number, pairs, text

__all__ = ["Card", "cards", "sleeps"]

_CLASSES: tuple[tuple[str, str, Literal["gpu", "npu"]], ...] = (
    ("drm", r"card\d+", "gpu"),
    ("accel", r"accel\d+", "npu"),
)
_VENDORS = {0x1002: "amd", 0x1022: "amd", 0x8086: "intel", 0x10DE: "nvidia", 0x1AF4: "virtio"}
_SILENT = frozenset({"nvidia", "nvidia-drm"})
"""Drivers that tell the kernel nothing of use: their library does."""


@dataclass(frozen=True, slots=True)
class Card:
    """A device. `node` is its folder of the class, `folder` that of the hardware.

    `address` is that on the PCI bus; empty for one that is not on it.
    """

    id: str
    name: str
    vendor: str
    kind: Literal["gpu", "npu"]
    driver: str
    address: str
    product: int
    node: Path
    folder: Path


def cards(root: Path) -> Iterator[Card]:
    """Every device with a driver that tells something."""
    for name, pattern, kind in _CLASSES:
        try:
            nodes = sorted((root / "sys/class" / name).iterdir())
        except OSError:
            continue
        for node in nodes:
            if re.fullmatch(pattern, node.name):
                card = _card(node, kind)
                if card.driver and card.driver not in _SILENT:
                    yield card


def _card(node: Path, kind: Literal["gpu", "npu"]) -> Card:
    folder = node / "device"
    facts = pairs(folder / "uevent", "=")
    address = facts.get("PCI_SLOT_NAME", "").lower()
    driver = facts.get("DRIVER", "")
    vendor, product = number(folder / "vendor") or 0, number(folder / "device") or 0
    name = text(folder / "product_name") or (
        f"{driver} {vendor:04x}:{product:04x}" if vendor else driver
    )
    platform = facts.get("OF_FULLNAME", "").rpartition("/")[2] or node.name
    return Card(
        address or f"{driver}:{platform}",
        name,
        _VENDORS.get(vendor, f"{vendor:04x}" if vendor else driver),
        kind,
        driver,
        address,
        product,
        node,
        folder,
    )


def sleeps(card: Card) -> bool:
    """Whether the device is switched off for now; to read its sensors would wake it."""
    return text(card.folder / "power/runtime_status") in ("suspended", "suspending")
