"""What `MCPServer` takes, and what it refuses with what to change."""

import re
from typing import Any

import pytest

from evented_agent import Agent, Background, DeclarationError, MCPServer, tool
from evented_agent.testing import ScriptedModel

COMMAND = ["server"]


def agent(**options: Any) -> Agent:
    return Agent(id="a", model=ScriptedModel(["Hi."]), **options)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("a_b", {"command": COMMAND}, "the name is not valid"),
        ("a" * 33, {"command": COMMAND}, "the name is not valid"),
        (5, {"command": COMMAND}, "the name is not valid"),
        ("a", {}, "pass either command=[…] or url="),
        ("a", {"command": COMMAND, "url": "http://h/"}, "pass either command"),
        ("a", {"command": "server --all"}, "as a list of texts"),
        ("a", {"command": []}, "as a list of texts"),
        ("a", {"command": ["a\0b"]}, "as a list of texts"),
        ("a", {"url": "file:///etc/passwd"}, "the url is not valid"),
        ("a", {"url": "https://me:secret@host/"}, "Pass them by headers="),
        ("a", {"url": "https://host/", "env": ["A"]}, "env and cwd are for a command"),
        ("a", {"command": COMMAND, "headers": {}}, "headers are for a URL"),
        ("a", {"command": COMMAND, "env": "TOKEN"}, "Pass a list of names"),
        ("a", {"command": COMMAND, "allow": "read"}, "allow='read'"),
        ("a", {"command": COMMAND, "connect_timeout": 0}, "connect_timeout=0"),
        ("a", {"command": COMMAND, "retries": -1}, "retries=-1"),
        ("a", {"command": COMMAND, "retires": 1}, "Did you mean 'retries'?"),
        ("a", {"command": COMMAND, "isolate": True}, "isolate"),
        ("a", {"command": COMMAND, "policies": {"x": {"on_crash": "?"}}}, "on_crash='?'"),
        ("a", {"command": COMMAND, "policies": {"x": {"timeuot": 1}}}, "policies={'x': …}"),
    ],
)
def test_a_server_is_declared_well(name: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(told)):
        MCPServer(name, **options)


def test_nothing_secret_is_shown_of_a_server() -> None:
    over_http = MCPServer("a", url="https://host/x?key=abc", headers={"Authorization": "Bearer b"})
    program = MCPServer("b", command=["/opt/server", "--token", "abc"], env={"TOKEN": "def"})

    assert repr([over_http, program]) == "[<MCPServer a: host>, <MCPServer b: server>]"


def test_what_is_repeatable_is_run_again_and_what_is_not_is_asked_about() -> None:
    server = MCPServer("a", command=COMMAND, policies={"own": {"on_crash": "fail"}})

    assert server.policy_of("x", is_repeatable=True).on_crash == "rerun"
    assert server.policy_of("x", is_repeatable=False).on_crash == "ask"
    assert server.policy_of("own", is_repeatable=True).on_crash == "fail"
    assert server.policy_of("x", is_repeatable=False).timeout == 300


def test_a_policy_of_one_tool_comes_before_that_of_all() -> None:
    server = MCPServer(
        "a", command=COMMAND, retries=1, background=True, policies={"x": {"retries": 3}}
    )

    assert server.policy_of("x", is_repeatable=False).retries == 3
    assert server.policy_of("y", is_repeatable=False).retries == 1
    assert server.policy_of("x", is_repeatable=False).background == Background()


def test_an_agent_has_servers_beside_its_tools() -> None:
    @tool
    def look() -> str:
        """Look."""
        return "."

    server = MCPServer("a", command=COMMAND)
    made = agent(tools=[look, server])

    assert made.tools == (look,)
    assert list(made.mcp_servers) == [server]
    assert made.mcp_server_of("a_read") is server
    assert made.mcp_server_of("b_read") is None
    assert made.version != agent(tools=[look]).version
    assert agent(tools=[server], active_tools=["a_read"]).active_tools == ("a_read",)
    with made.override(tools=[look]):
        assert list(made.mcp_servers) == []
    with made.override(model=ScriptedModel(["Ho."])):
        assert list(made.mcp_servers) == [server]


def test_two_servers_have_two_names() -> None:
    with pytest.raises(DeclarationError, match="two MCP servers have the name 'a'"):
        agent(tools=[MCPServer("a", command=COMMAND), MCPServer("a", command=COMMAND)])


def test_a_tool_that_no_server_would_have_is_refused() -> None:
    with pytest.raises(DeclarationError, match=re.escape("(there are: a_*)")):
        agent(tools=[MCPServer("a", command=COMMAND)], active_tools=["b_read"])
