"""What devices do, in words for people, as JSON, and in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sashizu_core.devices import (
    FIELDS,
    Device,
    DeviceProcess,
    Known,
    Probe,
    Reading,
    Snapshot,
    Unknown,
)

__all__ = [
    "as_prometheus",
    "listed",
    "listed_json",
    "measured",
    "measured_json",
    "processes_json",
    "processes_shown",
    "value_shown",
]

_STALE_S = 5.0
"""Seconds after which an age is shown."""


def plain(text: str) -> str:
    """Text of drivers and files on one line, without what steers a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def size_shown(count: float) -> str:
    """Bytes in the unit that leaves a number below 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


_UNITS = {"percent": "%", "w": "W", "j": "J", "c": "°C", "mhz": "MHz", "rpm": "rpm"}


def value_shown(name: str, value: float | str) -> str:
    """A value with its unit."""
    if isinstance(value, str):
        return plain(value)
    if name.endswith("_bytes"):
        return size_shown(value)
    unit = _UNITS.get(name.rpartition("_")[2], "")
    number = f"{value:.1f}".removesuffix(".0")
    return f"{number} {unit}".strip()


def reading_shown(name: str, reading: Reading, now_ns: int) -> str:
    """A value with its source, and its age where it is old; or why it is unknown."""
    if isinstance(reading, Unknown):
        return f"unknown: {plain(reading.reason)}"
    age = reading.age_s(now_ns)
    old = f", {age:.0f} s old" if age >= _STALE_S else ""
    return f"{value_shown(name, reading.value)} ({reading.source}{old})"


# --- devices --------------------------------------------------------------------------------------


def listed(
    devices: Sequence[Device], probes: Mapping[str, Probe], failed: Mapping[str, str]
) -> Iterator[str]:
    """A line for each device, and for each backend that is of no use here."""
    if not devices:
        yield "no devices"
    for device in devices:
        indent = "  " if device.parent else ""
        also = f" ({', '.join(map(plain, device.also))})" if device.also else ""
        yield (
            f"{indent}{plain(device.id)}{also}: {plain(device.name)}, "
            f"{plain(device.vendor)} {device.kind}, {device.memory} memory"
        )
    for name, probe in probes.items():
        remedy = f"; {plain(probe.remedy)}" if probe.remedy else ""
        yield f"backend {name}: {probe.state}: {plain(probe.reason)}{remedy}"
    for name, reason in failed.items():
        yield f"backend {name}: {plain(reason)}"


def listed_json(
    devices: Sequence[Device], probes: Mapping[str, Probe], failed: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "devices": [device.as_json() for device in devices],
        "backends": [
            *(
                {
                    "name": name,
                    "state": probe.state,
                    "reason": probe.reason,
                    "remedy": probe.remedy,
                }
                for name, probe in probes.items()
            ),
            *(
                {"name": name, "state": "failed", "reason": reason, "remedy": ""}
                for name, reason in failed.items()
            ),
        ],
    }


# --- measurements ---------------------------------------------------------------------------------


def measured(snapshot: Snapshot, now_ns: int) -> Iterator[str]:
    """Every field of every device."""
    if not snapshot.devices:
        yield "no devices"
    for device in snapshot.devices:
        yield f"{plain(device.id)}: {plain(device.name)}"
        if device.id in snapshot.lost:
            yield f"  lost: {plain(snapshot.lost[device.id])}"
            continue
        stats = snapshot.stats[device.id]
        for name in FIELDS:
            yield f"  {name}: {reading_shown(name, stats.get(name), now_ns)}"


def measured_json(snapshot: Snapshot, now_ns: int) -> list[dict[str, Any]]:
    found = []
    for device in snapshot.devices:
        if device.id in snapshot.lost:
            found.append({"device": device.id, "lost": snapshot.lost[device.id]})
        else:
            found.append({"name": device.name, **snapshot.stats[device.id].as_json(now_ns)})
    return found


def as_prometheus(snapshot: Snapshot) -> Iterator[str]:
    """What is known, as gauges; what is unknown has no line, as Prometheus wants it.

    Source: "Text-based format", version 0.0.4, of prometheus.io.
    """
    yield "# HELP sashizu_device_up 1 if the device answers."
    yield "# TYPE sashizu_device_up gauge"
    for device in snapshot.devices:
        yield f"sashizu_device_up{{{_labels(device)}}} {int(device.id not in snapshot.lost)}"
    for name, meaning in FIELDS.items():
        lines = list(_gauges(snapshot, name))
        if lines:
            yield f"# HELP sashizu_device_{name} {meaning}."
            yield f"# TYPE sashizu_device_{name} gauge"
            yield from lines


def _gauges(snapshot: Snapshot, name: str) -> Iterator[str]:
    for device in snapshot.devices:
        stats = snapshot.stats.get(device.id)
        reading = stats.get(name) if stats is not None else None
        if isinstance(reading, Known) and not isinstance(reading.value, str):
            labels = f'{_labels(device)},source="{_label(reading.source)}"'
            yield f"sashizu_device_{name}{{{labels}}} {reading.value}"


def _labels(device: Device) -> str:
    return f'device="{_label(device.id)}",name="{_label(device.name)}"'


def _label(text: str) -> str:
    return plain(text).replace("\\", "\\\\").replace('"', '\\"')


# --- processes ------------------------------------------------------------------------------------


def processes_shown(
    device: Device, found: Sequence[DeviceProcess] | Unknown, now_ns: int
) -> Iterator[str]:
    """A line for each process of a device."""
    yield f"{plain(device.id)}: {plain(device.name)}"
    if isinstance(found, Unknown):
        yield f"  unknown: {plain(found.reason)}"
        return
    if not found:
        yield "  no processes"
    for process in found:
        who = plain(process.name) or ("a process of the host" if process.ours is False else "?")
        used = reading_shown("used_bytes", process.used_bytes, now_ns)
        busy = reading_shown("busy_percent", process.busy_percent, now_ns)
        yield f"  {process.pid} {who} [{process.kind}]: memory {used}; busy {busy}"


def processes_json(
    device: Device, found: Sequence[DeviceProcess] | Unknown, now_ns: int
) -> dict[str, Any]:
    if isinstance(found, Unknown):
        return {"device": device.id, "unknown": found.reason}
    return {
        "device": device.id,
        "processes": [
            {
                "pid": process.pid,
                "ours": process.ours,
                "name": process.name or None,
                "kind": process.kind,
                "used_bytes": process.used_bytes.as_json(now_ns),
                "busy_percent": process.busy_percent.as_json(now_ns),
            }
            for process in found
        ],
    }
