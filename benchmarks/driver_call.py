"""What a call of the native driver costs from Python, beside a bare `fcntl.ioctl`.

    python benchmarks/driver_call.py [--rounds 60] [--calls 300]

Needs the driver of sashizu; the tests of the Linux module run it in an emulator, where only the
ratios mean something. The bare call has the same code and a frame of its own. Rounds
alternate; the best round of each counts, in microseconds a call.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from collections.abc import Callable
from functools import partial

from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.driver import NativeDriver, filled
from sashizu_gpu_driver.native.errors import DriverAbsent

LIMIT = 1.5


def bare(fd: int, code: int, frame: object, calls: int) -> None:
    ioctl = fcntl.ioctl
    for _ in range(calls):
        ioctl(fd, code, frame)


def through_the_client(driver: NativeDriver, frame: abi.PoolStatus, calls: int) -> None:
    call, function = driver.call, abi.POOL_STATUS
    for _ in range(calls):
        call(function, frame)


def as_values(driver: NativeDriver, calls: int) -> None:
    for _ in range(calls):
        driver.pool()


def best(calls: int, rounds: int, cases: dict[str, Callable[[int], None]]) -> dict[str, float]:
    found = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, case in cases.items():
            began = time.perf_counter_ns()
            case(calls)
            found[name] = min(found[name], (time.perf_counter_ns() - began) / calls / 1000)
    return found


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=300)
    asked = parser.parse_args(words)
    try:
        driver = NativeDriver.open()
    except DriverAbsent as error:
        print(error, file=sys.stderr)
        return 2
    with driver:
        frame, own = filled(abi.PoolStatus), filled(abi.PoolStatus)
        cases: dict[str, Callable[[int], None]] = {
            "bare fcntl.ioctl": partial(bare, driver.fileno(), int(abi.POOL_STATUS), own),
            "NativeDriver.call": partial(through_the_client, driver, frame),
            "NativeDriver.pool, a frame and a value each": partial(as_values, driver),
        }
        took = best(asked.calls, asked.rounds, cases)
    first = took["bare fcntl.ioctl"]
    for name, each in took.items():
        print(f"{name}: {each:.2f} us, {each / first:.2f} x")
    return 0 if took["NativeDriver.call"] / first <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
