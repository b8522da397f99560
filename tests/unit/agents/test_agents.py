"""Declaring agents: what they hold, what is refused, what a test may replace."""

import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from evented_agent.agents.agent import Agent
from evented_agent.agents.callbacks import StepInfo
from evented_agent.agents.tools.tool import tool
from evented_agent.chunks import Usage
from evented_agent.errors import DeclarationError
from evented_agent.models.protocol import AnswerEnded, ModelEvent, ModelRequest


class Silent:
    """A model that says nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield AnswerEnded("stop")


SILENT = Silent("silent/one")
OTHER = Silent("silent/two")


@tool
def search(query: str) -> str:
    """Search."""
    return query


@tool
def delete(row: int) -> None:
    """Delete."""


@tool(name="search")
def search_again(query: str) -> str:
    """Search."""
    return query


def plain(query: str) -> str:
    """A function that nobody declared."""
    return query


def is_done(info: StepInfo) -> bool:
    return info.step == 2


def greet(context: Any) -> str:
    return f"Greet {context}."


async def greet_later(context: Any) -> str:
    return f"Greet {context}."


def clerk(**options: Any) -> Agent:
    declared: dict[str, Any] = {"id": "clerk", "model": SILENT, "tools": [search, delete]}
    return Agent(**{**declared, **options})


def test_an_agent_holds_what_was_declared() -> None:
    settings = {"temperature": 0}
    agent = clerk(
        name="Clerk",
        description="Files.",
        instructions=greet,
        model=("openai/gpt-5.5", SILENT),
        stop_when=is_done,
        tool_choice={"tool": "search"},
        active_tools=["search"],
        model_settings=settings,
        model_timeout=30,
        version="7",
    )
    settings["temperature"] = 1

    assert (agent.id, agent.name, agent.description) == ("clerk", "Clerk", "Files.")
    assert agent.instructions is greet
    assert [model.name for model in agent.models] == ["openai/gpt-5.5", "silent/one"]
    assert agent.model == ("openai/gpt-5.5", SILENT)
    assert agent.tools == (search, delete)
    assert agent.tools_by_name == {"search": search, "delete": delete}
    assert agent.tool_named("delete") is delete
    assert agent.tool_named("nothing") is None
    assert agent.stop_when == (is_done,)
    assert agent.tool_choice == {"tool": "search"}
    assert agent.active_tools == ("search",)
    assert agent.model_settings == {"temperature": 0}
    assert agent.model_timeout == 30.0
    assert agent.version == "7"


def test_an_agent_needs_only_an_id_and_a_model() -> None:
    agent = Agent(id="a", model="openai-chat/qwen")

    assert (agent.name, agent.description, agent.instructions) == ("a", "", "")
    assert (agent.tools, agent.stop_when, agent.active_tools) == ((), (), None)
    assert (agent.max_steps, agent.tool_choice, agent.model_settings) == (5, "auto", {})
    assert (agent.model_retries, agent.model_timeout, agent.tool_call_concurrency) == (2, 600, 10)
    assert repr(agent) == "Agent(id='a', model=['openai-chat/qwen'], tools=[])"


def test_an_agent_cannot_be_changed() -> None:
    agent = clerk()

    with pytest.raises(AttributeError, match=r"Agent 'clerk' cannot be changed .*override"):
        agent.max_steps = 3
    with pytest.raises(AttributeError):
        agent.tools = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        agent.model_settings["x"] = 1  # type: ignore[index]
    assert agent.max_steps == 5


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Agent("clerk", SILENT)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"id": "no spaces"}, "the id is not valid. Use 1 to 64 ASCII letters, digits, _, . and -"),
        ({"id": "x" * 65}, "the id is not valid"),
        ({"id": "line\n"}, "the id is not valid"),
        ({"id": 1}, "the id is not valid"),
        ({"model": []}, "model=[] names no model. Pass at least one"),
        ({"model": "gpt-5.5"}, "model='gpt-5.5' names no model"),
        ({"model": [SILENT, None]}, "model=None names no model"),
        ({"instructions": 5}, "instructions=5. Pass text, or a def"),
        ({"instructions": greet_later}, "Pass text, or a def that takes the run's context"),
        ({"tools": search}, "Pass a list of tools"),
        ({"tools": [plain]}, "plain in tools is no tool. Write @tool above its def"),
        ({"tools": ["search"]}, "'search' in tools is no tool"),
        (
            {"tools": [search, search_again]},
            f"two tools have the name 'search': <Tool search: {__name__}.search> and "
            f"<Tool search: {__name__}.search_again>. Rename one with @tool(name=…)",
        ),
        ({"name": 3}, "name=3 is not text"),
        ({"description": None}, "description=None is not text"),
        ({"version": 3}, "version=3 is not text"),
        ({"max_steps": 0}, "max_steps=0. Pass a whole number from 1 up"),
        ({"max_steps": True}, "max_steps=True"),
        ({"max_steps": 2.0}, "max_steps=2.0"),
        ({"tool_call_concurrency": 0}, "tool_call_concurrency=0. Pass a whole number from 1 up"),
        ({"model_retries": -1}, "model_retries=-1. Pass a whole number from 0 up"),
        ({"model_timeout": 0}, "model_timeout=0. Pass seconds above 0"),
        ({"model_timeout": float("nan")}, "model_timeout=nan"),
        ({"model_timeout": "60"}, "model_timeout='60'"),
        ({"stop_when": "never"}, "'never' in stop_when. Pass a def that takes a StepInfo"),
        ({"stop_when": [is_done, greet_later]}, "in stop_when. Pass a def"),
        ({"tool_choice": "search"}, "Use 'auto', 'none', 'required' or {'tool': name}"),
        ({"tool_choice": {"name": "search"}}, "tool_choice={'name': 'search'}. Use"),
        ({"tool_choice": {"tool": "serach"}}, "tool_choice names 'serach', which is no tool on"),
        (
            {"tool_choice": {"tool": "delete"}, "active_tools": ["search"]},
            "tool_choice names 'delete', which is no tool on offer (there are: search)",
        ),
        ({"tool_choice": "required", "tools": []}, "no tool on offer. Add tools, or use 'auto'"),
        ({"active_tools": "search"}, "active_tools='search'. Pass a list of names"),
        ({"active_tools": ["serach"]}, "active_tools names 'serach', which is no tool on offer"),
        ({"active_tools": ["x"], "tools": []}, "(there are: none)"),
        ({"model_settings": {"f": print}}, "model_settings is not a JSON object"),
        ({"model_settings": {"t": float("nan")}}, "model_settings is not a JSON object"),
        ({"model_settings": "hot"}, "model_settings is not a JSON object"),
    ],
)
def test_a_wrong_declaration_is_refused_with_what_to_pass(
    options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        clerk(**options)

    assert expected in str(caught.value)
    assert str(caught.value).startswith("Agent")


def test_the_version_follows_what_the_model_is_told_and_may_call() -> None:
    class Polite:
        def __call__(self, context: Any) -> str:
            return "Be polite."

    versions = [
        clerk().version,
        clerk(instructions="Be brief.").version,
        clerk(instructions=greet).version,
        clerk(instructions=Polite()).version,
        clerk(model=OTHER).version,
        clerk(model=[SILENT, OTHER]).version,
        clerk(tools=[search]).version,
    ]

    assert len(set(versions)) == len(versions)
    assert clerk().version == versions[0]
    assert clerk(instructions=Polite()).version == versions[3]
    assert clerk(max_steps=9, id="other", description="x").version == versions[0]
    assert len(versions[0]) == 12


DECLARE = """
from evented_agent import Agent
from evented_agent import tool

@tool
def pick(words: set[str]) -> None:
    "Pick."

print(Agent(id="a", model="openai/gpt-5.5", tools=[pick]).version)
"""


def test_the_version_is_the_same_in_every_process() -> None:
    versions = {
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{DECLARE}"],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(versions) == 1


def test_an_override_holds_in_all_threads_until_its_block_ends() -> None:
    agent = clerk(instructions="Be brief.")
    seen: list[Any] = []

    with agent.override(model=OTHER, instructions="Be long.", tools=[delete]) as same:
        thread = threading.Thread(
            target=lambda: seen.append((agent.models, agent.instructions, agent.tools))
        )
        thread.start()
        thread.join()
        assert same is agent
        assert agent.model is OTHER
        assert agent.tool_named("search") is None

    assert seen == [((OTHER,), "Be long.", (delete,))]
    assert agent.models == (SILENT,)
    assert agent.instructions == "Be brief."
    assert agent.tools == (search, delete)


def test_an_override_ends_with_an_exception_too() -> None:
    agent = clerk()

    with pytest.raises(ZeroDivisionError), agent.override(model=OTHER):
        _ = 1 / 0

    assert agent.models == (SILENT,)


def test_overrides_nest() -> None:
    agent = clerk(model="openai/gpt-5.5")
    models, version = agent.models, agent.version

    with agent.override(instructions="Outer."):
        with agent.override(model=[OTHER, SILENT]):
            assert (agent.models, agent.instructions) == ((OTHER, SILENT), "Outer.")
            assert agent.version == version
        assert agent.instructions == "Outer."
        assert agent.models is models

    assert agent.instructions == ""


def test_an_override_is_checked_like_the_declaration() -> None:
    agent = clerk(active_tools=["search"], tool_choice={"tool": "search"})

    for options, expected in (
        ({"model": "gpt"}, "names no model"),
        ({"tools": [plain]}, "is no tool"),
        ({"tools": [delete]}, "active_tools names 'search'"),
        ({"instructions": 3}, "Pass text"),
    ):
        with pytest.raises(DeclarationError, match=expected), agent.override(**options):
            pytest.fail("The override was accepted.")
    assert agent.tools == (search, delete)


def test_a_stop_condition_sees_the_step() -> None:
    [condition] = clerk(stop_when=[is_done]).stop_when
    info = StepInfo(2, "text", [], [], Usage(), Usage(input_tokens=3), "stop")

    assert condition(info)
    assert info.total_usage.input_tokens == 3
