"""Core's own plugin: file tools, shipped agents, the local executor."""
