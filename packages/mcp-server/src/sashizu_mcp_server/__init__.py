"""The Model Context Protocol, both ways: sashizu as a server, and the tools of other servers."""

__version__ = "0.1.0"
