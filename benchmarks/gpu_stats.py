"""What one look at a GPU costs, beside gpustat and nvitop over the same fields and library.

    uv run python benchmarks/gpu_stats.py [--rounds 7] [--looks 400] [--lab FOLDER]

No GPU is needed: all three ask a fake libnvidia-ml that reads a file, so what is compared is what
each does around the same calls. Each runs in an environment of its own, in a process of its own,
one after another in shuffled order in every round; a figure is the median of the rounds, in
microseconds of CPU for one look. The fields: used, free and total memory, how busy the cores and
the memory are, heat, power and its limit, energy, both clocks, the performance state; ours also
asks why clocks are held down, and for errors. gpustat has no way to look without listing processes,
so ours is shown with and without.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from _bench import PEERS, ROOT, Lab

PEERS.update({"gpustat": ["gpustat==1.1.1"], "nvitop": ["nvitop==1.7.2"]})

COMMON = """
import sys, time
def measured(look):
    for _ in range(50):
        look()
    looks = int(sys.argv[1])
    began = time.process_time()
    for _ in range(looks):
        look()
    print((time.process_time() - began) / looks * 1e6)
"""

OURS = """
from sashizu_core.devices import Devices
from sashizu_gpu_driver.nvml.backend import NvmlBackend
backend = NvmlBackend()
assert backend.probe().state == "ok"
devices = Devices([backend])
(device,) = devices.present()
stats = devices.sample().stats[device.id]
assert stats.number("busy_percent") == 37 and stats.number("power_w") == 312, stats
"""

PROGRAMS: Mapping[str, tuple[str, str]] = {
    "ours": ("sashizu", OURS + "measured(devices.sample)"),
    "ours, with processes": (
        "sashizu",
        OURS + "measured(lambda: (devices.sample(), devices.processes(device.id)))",
    ),
    "gpustat": (
        "gpustat",
        """
import gpustat
(gpu,) = gpustat.new_query()
assert gpu.utilization == 37 and gpu.power_draw == 312, gpu
measured(gpustat.new_query)
""",
    ),
    "nvitop": (
        "nvitop",
        """
from nvitop import Device
(gpu,) = Device.all()
def look():
    with gpu.oneshot():
        return (
            gpu.memory_used(), gpu.memory_free(), gpu.memory_total(), gpu.gpu_utilization(),
            gpu.memory_utilization(), gpu.temperature(), gpu.power_usage(), gpu.power_limit(),
            gpu.sm_clock(), gpu.memory_clock(), gpu.performance_state(),
            gpu.total_energy_consumption(),
        )
found = look()
assert found[3] == 37 and found[6] == 312000, found
measured(look)
""",
    ),
}


def fake() -> ModuleType:
    place = ROOT / "packages/gpu-driver/tests/fake_nvml/building.py"
    spec = spec_from_file_location("fake_nvml_building", place)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--looks", type=int, default=400)
    parser.add_argument("--lab", type=Path, default=Path("/tmp/sashizu-bench"))
    options = parser.parse_args()
    lab = Lab(options.lab)
    building = fake()
    library = building.build(lab.folder / "nvml")
    state = lab.folder / "nvml.state"
    building.write_state(state, {**building.ONE_GPU, "0.compute": f"{os.getpid()}:1073741824"})
    pythons = {
        "sashizu": lab.ours("core", "gpu_driver"),
        "gpustat": lab.python("gpustat"),
        "nvitop": lab.python("nvitop"),
    }
    env = {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": str(library.parent),
        "FAKE_NVML_STATE": str(state),
    }
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(options.rounds):
        for name in random.sample(list(PROGRAMS), len(PROGRAMS)):
            python, program = PROGRAMS[name]
            ran = subprocess.run(
                [pythons[python], "-W", "ignore", "-c", COMMON + program, str(options.looks)],
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            if ran.returncode:
                sys.exit(f"{name} failed:\n{ran.stderr}")
            found[name].append(float(ran.stdout))
    ours = {name: statistics.median(times) for name, times in found.items()}
    print("| one look | CPU | of ours |\n| --- | ---: | ---: |")
    for name, micros in ours.items():
        base = ours["ours, with processes" if name == "gpustat" else "ours"]
        print(f"| {name} | {micros:,.0f} us | {micros / base:.1f} |")


if __name__ == "__main__":
    main()
