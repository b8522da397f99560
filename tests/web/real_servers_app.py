"""An agent with tools of servers that others have written, from PyPI and from npm."""

import sys
from pathlib import Path

from evented_agent import Agent, MCPServer
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED, each_tool, tell_all
from tests.support.deployment import MARKS, make_app, serve
from tests.support.node import CLIENTS, NODE

_PACKAGES = CLIENTS / "node_modules" / "@modelcontextprotocol"


def from_pypi(name: str) -> list[str]:
    return [str(Path(sys.executable).with_name(f"mcp-server-{name}"))]


def from_npm(name: str, *arguments: str) -> list[str]:
    return [str(NODE), str(_PACKAGES / f"server-{name}" / "dist" / "index.js"), *arguments]


servers = [
    MCPServer("time", command=from_pypi("time")),
    MCPServer("git", command=from_pypi("git")),
    MCPServer("files", command=from_npm("filesystem", str(MARKS))),
    MCPServer(
        "everything",
        command=from_npm("everything", "stdio"),
        policies={"trigger-long-running-operation": {"retries": 1}},
    ),
]
host = Agent(id="host", model=ScriptedModel([each_tool, tell_all]), tools=servers)
app = make_app("tests.web.real_servers_app")
evented = serve(app, *SHARED, host)
