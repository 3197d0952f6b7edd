"""The `sashizu` command: front door, commands, live display, reports."""

__version__ = "0.1.0"
