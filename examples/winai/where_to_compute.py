"""Measure the devices, register with our own driver, and ask it for the way to compute.

python where_to_compute.py [BYTES]

Needs `sashizu-gpu-driver`, and the driver loaded; without them it says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from sashizu_core.plugins import open_registry
from sashizu_core.settings import load_settings
from sashizu_winai.errors import WindowsAiError
from sashizu_winai.runtime import WindowsAiRuntime


async def run(size: int) -> None:
    settings = load_settings(Path.cwd(), overrides=["gpu.native=true"])
    devices = list(open_registry(settings).devices.values())
    async with WindowsAiRuntime.open(devices=devices) as runtime:
        snapshot = await runtime.gpu_stats()
        for device in snapshot.devices:
            free = snapshot.stats[device.id].number("memory_free_bytes")
            print(f"{device.name}: {'unknown' if free is None else int(free)} bytes free")
        try:
            registration = await runtime.register_with_kernel()
        except WindowsAiError as error:
            print(f"{error.state}: {error}")
            return
        advice = await registration.path(size)
        print(f"{advice.path} on {advice.device or 'the processor'}: {advice.reason}")


def main(words: list[str]) -> int:
    anyio.run(run, int(words[0]) if words else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
