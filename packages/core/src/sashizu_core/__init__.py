"""Types, plugins and the agent loop of sashizu."""

__version__ = "0.1.0"
