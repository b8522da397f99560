"""The SDK is imported where a server is used, and nowhere else; without it, the error says so."""

import subprocess
import sys

import pytest

from evented_agent import Agent, RunFailed, create_durable_agent
from evented_agent.testing import ScriptedModel
from tests.mcp.servers import hostile
from tests.support.servers import RedisServer


def test_the_sdk_is_imported_by_nobody_who_uses_no_server() -> None:
    code = (
        "import sys, evented_agent, evented_agent.web, evented_agent.cli\n"
        "from evented_agent import Agent, MCPServer\n"
        "server = MCPServer('a', command=['b'])\n"
        "assert not {'mcp', 'mcp_types'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_without_the_extra_says_what_to_install(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("evented_agent.execution.mcp.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    agent = Agent(id="poor", model=ScriptedModel(["Hi."]), tools=[hostile("list")])
    durable = create_durable_agent(agent, redis_url=redis_server.url)

    with pytest.raises(RunFailed, match=r"pip install 'evented-agent\[mcp\]'"):
        durable.generate("Go.", timeout=20)
    durable.close()
