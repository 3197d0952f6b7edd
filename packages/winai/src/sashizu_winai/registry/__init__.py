"""Our MCP server in the on-device agent registry of Windows."""
