"""Agents and tools of sashizu as an MCP server."""
