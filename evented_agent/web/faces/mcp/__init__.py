"""Agents as tools of the Model Context Protocol, by the official server; needs the extra `mcp`."""
