"""What is installed, told without importing it."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

__all__ = ["GROUP", "installed_entries", "installed_names"]

GROUP = "sashizu"
"""The entry-point group, and the name of the pluggy project."""


def installed_entries() -> tuple[EntryPoint, ...]:
    """The entry points of all plugins, sorted by name, then by value.

    Reads the `entry_points.txt` of every installed distribution: 3 to 5 ms for 70 of them.
    """
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)))


def installed_names() -> tuple[str, ...]:
    """The names of all plugins, sorted; each is also the name of its settings table."""
    return tuple(dict.fromkeys(entry.name for entry in installed_entries()))
