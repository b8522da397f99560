"""The agents of the conformance suite: the same declarations on every engine."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

from evented_agent import (
    Agent,
    ApprovalRequest,
    Background,
    NextStep,
    RunEvent,
    StepChoice,
    StepInfo,
    ToolContext,
    Verdict,
    Window,
    tool,
)
from evented_agent.agents.tools.tool import Tool
from evented_agent.errors import ModelError
from evented_agent.models.messages import Message, SystemMessage, ToolCall, ToolMessage, UserMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call

MARKS = Path(os.environ.get("TEST_MARKS", "/nonexistent"))
LONG = " ".join(f"word{n}" for n in range(120))


def mark(name: str, line: str) -> None:
    with (MARKS / name).open("a") as file:
        file.write(f"{line}\n")


def marks(name: str) -> list[str]:
    file = MARKS / name
    return file.read_text().splitlines() if file.exists() else []


def last_user(messages: Sequence[Message]) -> str:
    said = [message for message in messages if isinstance(message, UserMessage)]
    return str(said[-1].content)


def asked(request: ModelRequest) -> list[ToolCall]:
    """The calls that the user's message names, one a line, with their JSON arguments."""
    calls = [line.partition(" ") for line in last_user(request.messages).splitlines()]
    return [tool_call(name, **json.loads(arguments or "{}")) for name, _, arguments in calls]


def follow_up(request: ModelRequest) -> str:
    """Chat, or tell what has become of the work in the background."""
    if isinstance(request.messages[-1], SystemMessage):
        return f"News: {told(request)}."
    return "It is being done."


def told(request: ModelRequest) -> str:
    results = [message for message in request.messages if isinstance(message, ToolMessage)]
    return "; ".join(f"{'error ' if each.is_error else ''}{each.result}" for each in results)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail(why: str) -> str:
    """Raise."""
    raise RuntimeError(why)


@tool
async def report(ctx: ToolContext) -> str:
    """Tell how far it is."""
    ctx.emit({"percent": 50})
    return f"done for {ctx.context} with {ctx.idempotency_key}"


@tool(requires_approval=True)
def erase(ctx: ToolContext, name: str) -> str:
    """Erase something, once somebody has agreed."""
    mark("erase", f"{ctx.idempotency_key} {name}")
    return f"erased {name}"


@tool(requires_approval=True, expiry=1.5, on_expiry="fail")
def sign(name: str) -> str:
    """Sign something at once, or the run fails."""
    return f"signed {name}"


@tool
def book(ctx: ToolContext, flight: str) -> str:
    """Ask which seat, then book it."""
    if ctx.resume_data is None:
        ctx.suspend({"question": f"Which seat on {flight}?"}, resume_schema=Seat)
    mark("book", f"{ctx.idempotency_key} {ctx.resume_data}")
    return f"booked {ctx.resume_data['seat']}"


@tool
async def patient(ctx: ToolContext) -> str:
    """Work until the run is aborted."""
    mark("patient", "begun")
    while not ctx.aborted:
        await asyncio.sleep(0.01)
    return "stopped"


async def opened(topic: str) -> None:
    """Wait until a test lets the work on *topic* go on."""
    while not marks(f"open-{topic}"):
        await asyncio.sleep(0.02)


@tool(background=True)
async def compile_report(ctx: ToolContext, topic: str) -> str:
    """Write a report about something, for as long as that takes."""
    mark(f"compile-{topic}", str(ctx.attempt))
    ctx.emit({"topic": topic})
    await opened(topic)
    if topic.startswith("bad"):
        raise RuntimeError("no such topic")
    return f"all about {topic}"


@tool(background=True)
async def ask_apart(ctx: ToolContext, topic: str) -> str:
    """Ask a person, in the background."""
    if ctx.resume_data is None:
        ctx.suspend({"question": topic})
    return f"they say {ctx.resume_data}"


@tool
async def hold_open(topic: str) -> str:
    """Work on something until a test lets it go on."""
    mark(f"held-{topic}", "begun")
    await opened(topic)
    return f"worked on {topic}"


@tool(background=Background(disposition="awaited"))
async def fetch(topic: str) -> str:
    """Fetch something apart, and wait for it."""
    return f"fetched {topic}"


@tool(background=Background(key=lambda arguments: str(arguments["topic"])))
async def one_at_a_time(ctx: ToolContext, topic: str) -> str:
    """Work on a topic that nobody else works on."""
    mark(f"alone-{topic}", "in")
    await asyncio.sleep(0.1)
    mark(f"alone-{topic}", "out")
    return "done"


class Seat(pydantic.BaseModel):
    seat: int


class Person(pydantic.BaseModel):
    name: str
    age: int


class Place(pydantic.BaseModel):
    city: str


def is_etc(request: ApprovalRequest) -> bool:
    return str(request.arguments.get("name", "")).startswith("/etc")


def after_two(info: StepInfo) -> bool:
    return info.step >= 2


def recall(request: ModelRequest) -> str:
    if last_user(request.messages) == "slow":
        return LONG
    said = [str(each.content) for each in request.messages if isinstance(each, UserMessage)]
    return f"I remember {len(request.messages)}: {' | '.join(said)}"


def heard(request: ModelRequest) -> Any:
    """Make the calls that the last message names, or say what was heard since the last answer."""
    last = request.messages[-1]
    if isinstance(last, SystemMessage):
        return f"News: {told(request)}."
    if isinstance(last, ToolMessage):
        return f"Done: {told(request)}."
    said = last_user(request.messages)
    if said.startswith("fail once") and not marks(said):
        mark(said, "failed")
        raise ModelError("not this time")
    if said.split()[0] in TOOL_NAMES:
        return asked(request)
    new: list[str] = []
    for message in reversed(request.messages):
        if not isinstance(message, UserMessage):
            break
        new.insert(0, str(message.content))
    return Say(f"heard {' | '.join(new)}. {LONG if 'slow' in said else ''}")


def typed_answer(request: ModelRequest) -> str:
    said = [str(each.content) for each in request.messages if isinstance(each, UserMessage)]
    if said[0] == "wrong" or (said[0] == "wrong once" and len(said) == 1):
        return "Ann is seven."
    if "response_format" in request.settings and said[0] == "place":
        return '{"city": "Riga"}'
    return '{"name": "Ann of the long name", "age": 7}'


def hooked(event: RunEvent) -> None:
    mark("hooks", f"{event.key} {event.step} {event.finish_reason or ''}".strip())


async def hooked_async(event: RunEvent) -> None:
    about = event.pending.tool_call_id if event.pending else event.error
    mark("hooks", f"{event.key} {about}")


def broken_hook(event: RunEvent) -> None:
    mark("broken", event.key)
    raise RuntimeError("the hook is broken")


def prepare(step: NextStep) -> StepChoice | None:
    if step.step == 1:
        return StepChoice(model=_echo_instructions, instructions="Only this once.")
    return None


def only_report(step: NextStep) -> StepChoice:
    return StepChoice(active_tools=["report"], tool_choice={"tool": "report"})


def offered(request: ModelRequest) -> str:
    names = ", ".join(spec.name for spec in request.tools)
    return f"{names}; {json.dumps(request.tool_choice, default=dict)}"


def judge(info: StepInfo) -> Verdict | None:
    if info.text == "again":
        return Verdict(feedback="Once more, please.")
    if info.text == "last":
        return Verdict(proceed=False, feedback="Say goodbye.")
    return Verdict(proceed=False) if info.text == "enough" else None


def follow(request: ModelRequest) -> Any:
    """Say what the user says; after feedback, answer that."""
    said = last_user(request.messages)
    calls = [tool_call("add", a=1, b=2)] if said in ("enough", "Say goodbye.") else []
    return Say(f"heard {said}" if said.endswith((".", "?")) else said, calls)


def fail_once(request: ModelRequest) -> str:
    said = last_user(request.messages)
    if not marks(f"failed-{said}"):
        mark(f"failed-{said}", "yes")
        raise ModelError("the model is away")
    return "It works now."


class Partly:
    """A model that fails in the middle of its first answer to each message."""

    name = "scripted/partly"

    async def stream(self, request: ModelRequest) -> Any:
        from evented_agent.models.protocol import AnswerEnded, TextPiece

        said = last_user(request.messages)
        yield TextPiece("half an ")
        if not marks(f"partly-{said}"):
            mark(f"partly-{said}", "yes")
            raise ModelError("the model went away")
        yield TextPiece("answer")
        yield AnswerEnded("stop")


_echo_instructions = ScriptedModel([lambda request: f"told: {request.instructions}"])
TOOLS: list[Tool[..., Any]] = [add, fail, report, erase, book, patient]
TOOL_NAMES = ("add", "erase", "book", "compile_report", "hold_open", "fail_model")
ALL_HOOKS: dict[str, Any] = {
    "on_start": hooked,
    "on_step": hooked,
    "on_suspended": hooked_async,
    "on_finish": hooked,
    "on_error": hooked_async,
    "on_abort": hooked,
}


def desk_answer(request: ModelRequest) -> Any:
    """Hand over, add, or say who answers and what it is told."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage) and last.name == "add":
        return f"{request.instructions}: {last.result}"
    said = last_user(request.messages)
    offered = [spec.name for spec in request.tools]
    for name in said.split():
        if name in offered and not isinstance(last, ToolMessage):
            calls = [tool_call(word) for word in said.split() if word in offered]
            return calls if name != "add" else [tool_call("add", a=1, b=2)]
    if "back" in said and "transfer_to_triage" in offered:
        return [tool_call("transfer_to_triage")]
    if "add" in said and "add" in offered:
        return [tool_call("add", a=1, b=2)]
    return f"{request.instructions}: {', '.join(offered)}"


desk = Agent(
    id="desk",
    description="Adds numbers.",
    instructions=lambda _: "I am the desk",
    model=ScriptedModel([desk_answer]),
    tools=[add],
    handoffs=["triage"],
    on_finish=hooked,
)


def chief_answer(request: ModelRequest) -> Any:
    """Make the calls that the user names, or say what they came to and what is news."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return f"They say: {told(request)}."
    if isinstance(last, SystemMessage):
        return f"News: {told(request)}."
    said = last_user(request.messages)
    offered = [spec.name for spec in request.tools]
    return asked(request) if said.split()[0] in offered else f"heard {said}"


class Question(pydantic.BaseModel):
    name: str
    age: int = 7


researcher = Agent(
    id="researcher",
    description="Finds things out.",
    model=ScriptedModel([heard], pause=0.02),
    tools=[add, erase, book, hold_open, compile_report],
    on_start=hooked,
    on_finish=hooked,
)
typist = Agent(
    id="typist",
    description="Writes forms.",
    model=ScriptedModel([lambda request: last_user(request.messages)]),
    output_type=Person,
)
broken = Agent(
    id="broken",
    description="Never answers.",
    model=ScriptedModel([ModelError("no model today")]),
    model_retries=0,
)
deputy = Agent(
    id="deputy",
    description="Asks the researcher.",
    model=ScriptedModel([chief_answer]),
    tools=[researcher.as_tool(), add],
)
chief = Agent(
    id="chief",
    model=ScriptedModel([chief_answer], pause=0.02),
    tools=[
        researcher.as_tool(),
        researcher.as_tool(name="hurried", timeout=1.0),
        researcher.as_tool(name="checked", requires_approval=True),
        researcher.as_tool(name="apart", background=True),
        typist.as_tool(input=Question),
        broken.as_tool(),
        deputy.as_tool(),
        add,
        sign,
    ],
    max_steps=8,
    on_suspended=hooked_async,
)

hello = Agent(id="hello", model=ScriptedModel(["Hello, world."]))

AGENTS = [
    chief,
    researcher,
    typist,
    broken,
    deputy,
    desk,
    Agent(
        id="triage",
        instructions="I am the triage",
        model=ScriptedModel([desk_answer]),
        handoffs=[desk, hello],
    ),
    hello,
    Agent(
        id="toolbox",
        model=ScriptedModel([asked, told]),
        tools=TOOLS,
        policies={"etc": is_etc, "two": after_two, "only_report": only_report},
    ),
    Agent(
        id="offered-less",
        model=ScriptedModel([offered]),
        tools=TOOLS,
        policies={"only_report": only_report},
    ),
    Agent(
        id="endless",
        model=ScriptedModel([[tool_call("add", a=1, b=2)]]),
        tools=[add],
        policies={"two": after_two},
    ),
    Agent(id="slow", model=ScriptedModel([LONG], pause=0.02)),
    Agent(id="memory", model=ScriptedModel([recall], pause=0.02), window=Window(messages=4)),
    Agent(
        id="inbox",
        model=ScriptedModel([heard], pause=0.02),
        tools=[add, erase, book, compile_report, hold_open],
    ),
    Agent(
        id="typed",
        model=ScriptedModel([typed_answer]),
        output_type=Person,
        output_types=[Place],
    ),
    Agent(id="hooked", model=ScriptedModel([asked, told]), tools=TOOLS, **ALL_HOOKS),
    Agent(id="hooked-failing", model=ScriptedModel([ModelError("no model today")]), **ALL_HOOKS),
    Agent(id="broken-hook", model=ScriptedModel(["fine"]), on_finish=broken_hook),
    Agent(id="prepared", model=ScriptedModel(["unused"]), prepare_step=prepare),
    Agent(id="judged", model=ScriptedModel([follow]), tools=[add], on_iteration_complete=judge),
    Agent(id="fails-once", model=ScriptedModel([fail_once])),
    Agent(id="fails-partly", model=Partly(), model_retries=0),
    Agent(
        id="writer",
        model=ScriptedModel([asked, follow_up]),
        tools=[compile_report, ask_apart, fetch, one_at_a_time, add],
    ),
    Agent(
        id="fallback",
        model=[
            ScriptedModel([ModelError("the first is away")], name="scripted/first"),
            ScriptedModel(["The second answers."], name="scripted/second"),
        ],
    ),
]
