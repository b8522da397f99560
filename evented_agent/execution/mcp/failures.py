"""What can go wrong with an MCP server, in words that hold nothing secret.  Imports no SDK."""


class MCPServerUnavailable(Exception):
    """The server could not be reached, or went away: the call may be tried again."""

    @classmethod
    def because(cls, server: str, why: str) -> "MCPServerUnavailable":
        # Its one argument is the text, so that it can be pickled.
        return cls(f"The MCP server {server!r} is not available: {why}.")


class MCPToolFailed(Exception):
    """The server says that its tool failed; the text is the tool's."""


class MCPToolRefused(Exception):
    """The server refused the call, or it can no longer be made: trying again would not help."""
