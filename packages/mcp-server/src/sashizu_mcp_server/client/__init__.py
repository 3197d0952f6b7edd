"""The tools of MCP servers, for agents: started, asked, held and doubted here."""
