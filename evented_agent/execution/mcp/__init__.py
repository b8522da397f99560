"""MCP servers as workers talk to them; the only modules that import the SDK, when one is used."""
