"""Spans and metrics of runs in one process, with the real SDK of OpenTelemetry."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from evented_agent import (
    Agent,
    InProcessAgent,
    RunAborted,
    RunFailed,
    Settings,
    ToolContext,
    create_durable_agent,
    tool,
)
from evented_agent.chunks import Usage
from evented_agent.errors import ModelError
from evented_agent.telemetry.content import VARIABLE
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.traces import Recorded
from tests.support.workers import ROOT, wait_until

Make = Callable[..., InProcessAgent]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


@pytest.fixture
def make(redis_server: RedisServer) -> Iterator[Make]:
    """Make an in-process agent; closed after the test."""
    made: list[InProcessAgent] = []

    def make_one(
        script: Any,
        *tools: Any,
        settings: Settings | None = None,
        pause: float = 0,
        **options: Any,
    ) -> InProcessAgent:
        model = ScriptedModel(script, name="openai/gpt-5.5", pause=pause)
        agent = Agent(id=f"traced-{len(made)}", model=model, tools=tools, **options)
        durable = create_durable_agent(agent, redis_url=redis_server.url, settings=settings)
        made.append(durable)
        return durable

    yield make_one
    for durable in made:
        durable.close()


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def broken(a: int) -> int:
    """Fail."""
    raise KeyError(f"card {a}")


def failing_once() -> Any:
    tries: list[int] = []

    @tool(retries=1)
    def flaky() -> str:
        """Fail the first time."""
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not now")
        return "well"

    return flaky


USAGE = Usage(input_tokens=100, output_tokens=20, total_tokens=120, reasoning_tokens=5)


def test_a_call_has_its_names_tokens_and_no_words(recorded: Recorded, make: Make) -> None:
    script = [Say("I add.", calls=[tool_call("add", a=1, b=2)], usage=USAGE), "It is 3."]
    durable = make(script, add, model_settings={"temperature": 0.5}, version="7")
    run = durable.stream("What is 1 + 2?", thread_id="t-traced")
    run.result(20)

    spans = recorded.ended(run.run_id)
    [start] = recorded.spans("invoke_agent")
    first, second = recorded.spans("chat")
    [call] = recorded.spans("execute_tool")
    assert [span.name for span in spans] == [
        "invoke_agent traced-0",
        "chat gpt-5.5",
        "execute_tool add",
        "chat gpt-5.5",
        "end_run traced-0",
    ]
    assert start.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "traced-0",
        "gen_ai.agent.version": "7",
        "gen_ai.conversation.id": "t-traced",
        "evented_agent.run.id": run.run_id,
    }
    common = {
        "gen_ai.agent.name": "traced-0",
        "gen_ai.conversation.id": "t-traced",
        "evented_agent.run.id": run.run_id,
        "evented_agent.attempt": 1,
    }
    took = first.attributes.pop("gen_ai.response.time_to_first_chunk")
    assert 0 <= took <= (first.end - first.start) / 1e9 + 0.001
    assert first.attributes == common | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.5",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "evented_agent.step": 1,
    }
    assert call.attributes == common | {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call.attributes["gen_ai.tool.call.id"],
        "evented_agent.step": 1,
    }
    assert second.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert {span.parent for span in spans[1:]} == {start.span_id}
    assert "1 + 2" not in json.dumps([span.attributes for span in spans])


def test_words_are_recorded_where_that_is_asked_for(
    recorded: Recorded, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "span_only")
    run = make([[tool_call("add", a=1, b=2)], "It is 3."], add).stream("What is 1 + 2?")
    run.result(20)
    recorded.ended(run.run_id)

    first, second = recorded.spans("chat")
    [call] = recorded.spans("execute_tool")
    assert "What is 1 + 2?" in first.attributes["gen_ai.input.messages"]
    assert "It is 3." in second.attributes["gen_ai.output.messages"]
    assert call.attributes["gen_ai.tool.call.arguments"] == '{"a":1,"b":2}'
    assert call.attributes["gen_ai.tool.call.result"] == "3"


def test_each_try_is_a_span_and_the_one_that_counts_has_no_error(
    recorded: Recorded, make: Make
) -> None:
    overloaded = ModelError("overloaded", retryable=True, status=503)
    turns = iter([overloaded, [tool_call("flaky"), tool_call("broken", a=7)], "Done."])
    durable = make([lambda _request: next(turns)], failing_once(), broken)
    run = durable.stream("Go.")
    run.result(20)
    recorded.ended(run.run_id)

    chats = [(s.status, s.attributes["evented_agent.attempt"]) for s in recorded.spans("chat")]
    assert chats == [("ERROR", 1), ("UNSET", 2), ("UNSET", 1)]
    failed = recorded.spans("chat")[0].attributes
    assert failed["error.type"] == "503"
    assert failed["gen_ai.response.finish_reasons"] == ("error",)
    flaky = recorded.spans("execute_tool flaky")
    assert [(span.status, span.attributes.get("error.type")) for span in flaky] == [
        ("ERROR", "OSError"),
        ("UNSET", None),
    ]
    [wrong] = recorded.spans("execute_tool broken")
    assert (wrong.status, wrong.attributes["error.type"]) == ("ERROR", "KeyError")


def test_an_error_that_models_are_not_shown_is_in_no_span(recorded: Recorded, make: Make) -> None:
    hide: Callable[[BaseException, str], str] = lambda _error, name: f"{name} failed"  # noqa: E731
    run = make([[tool_call("broken", a=7)], "Done."], broken, tool_error=hide).stream("Go.")
    run.result(20)
    recorded.ended(run.run_id)

    [span] = [s for s in recorded.exporter.get_finished_spans() if s.name == "execute_tool broken"]
    assert "card" not in span.to_json()
    assert span.status.description == "KeyError: broken failed"


def test_a_failed_run_says_so_at_its_end(recorded: Recorded, make: Make) -> None:
    run = make([ModelError("out of credit", status=402)]).stream("Go.")
    with pytest.raises(RunFailed):
        run.result(20)
    recorded.ended(run.run_id)

    [end] = recorded.spans("end_run")
    assert (end.status, end.attributes["error.type"]) == ("ERROR", "402")
    assert end.attributes["evented_agent.run.status"] == "failed"
    [start] = recorded.spans("invoke_agent")
    assert (start.status, end.parent) == ("UNSET", start.span_id)


def test_an_aborted_run_says_so_at_its_end(recorded: Recorded, make: Make) -> None:
    durable = make(["Once upon a time there was a very long story. " * 50], pause=0.05)
    run = durable.stream("Go.")
    next(iter(run.text_parts()))
    run.abort("enough")
    with pytest.raises(RunAborted):
        run.result(20)

    [end] = [span for span in recorded.ended(run.run_id) if span.name.startswith("end_run")]
    assert end.attributes["evented_agent.run.status"] == "aborted"
    [chat] = recorded.spans("chat")
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("error",)


def test_a_start_that_is_refused_is_an_error_of_the_caller(recorded: Recorded, make: Make) -> None:
    durable = make(["Hi."])
    with pytest.raises(Exception, match="unexpected keyword"):
        durable.stream("Go.", nonsense=1)  # type: ignore[call-arg]

    [start] = recorded.spans("invoke_agent")
    assert (start.status, start.attributes["error.type"]) == ("ERROR", "DeclarationError")
    assert not trace.get_current_span().get_span_context().is_valid


def test_metrics_are_those_of_the_conventions(recorded: Recorded, make: Make) -> None:
    script = [Say("I add.", calls=[tool_call("add", a=1, b=2)], usage=USAGE), Say("3", usage=USAGE)]
    durable = make(script, add)
    recorded.ended(durable.stream("Go.").result(20).run_id)

    points = recorded.points()
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.5",
    }
    assert {name for name in points if name.startswith("gen_ai")} == {
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.time_to_first_chunk",
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.usage.reasoning.output_tokens",
        "gen_ai.execute_tool.duration",
    }
    [duration] = points["gen_ai.client.inference.duration"]
    assert (duration.count, dict(duration.attributes)) == (2, about)
    assert duration.explicit_bounds[0] == 0.01
    [tokens] = points["gen_ai.client.inference.usage.input_tokens"]
    assert (tokens.value, tokens.attributes["gen_ai.token.modality"]) == (200, "unknown")
    [called] = points["gen_ai.execute_tool.duration"]
    assert (called.count, called.attributes["gen_ai.tool.name"]) == (1, "add")


def test_a_trace_that_is_not_sampled_stays_so(
    recorded: Recorded, make: Make, redis_server: RedisServer
) -> None:
    off = TracerProvider(sampler=ALWAYS_OFF)
    durable = make(["Hi."])
    with off.get_tracer("web").start_as_current_span("POST /chat"):
        run = durable.stream("Go.")
    run.result(20)

    assert recorded.spans() == []
    *_, flags = field_of(redis_server, durable, run.run_id).split("-")
    assert int(flags, 16) % 2 == 0


def field_of(server: RedisServer, durable: InProcessAgent, run_id: str) -> str:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        found: Any = client.hget(durable.client.keys.of(run_id).run, "trace")
        return str(found or "")


@pytest.mark.parametrize("value", ["nonsense", "\x00ü", "00-" + "0" * 52, "x" * 100_000])
def test_a_malformed_record_begins_a_trace_of_its_own(
    value: str, recorded: Recorded, make: Make, redis_server: RedisServer
) -> None:
    @tool(requires_approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    durable = make([[tool_call("pay")], "Done."], pay)
    run = durable.stream("Go.")
    wait_until(lambda: durable.get(run.run_id).status == "suspended", "it waits")
    with redis.Redis.from_url(redis_server.url) as client:
        key = durable.client.keys.of(run.run_id).run
        client.hset(key, "trace", value)
    durable.approve(run.run_id)
    assert durable.observe(run.run_id).result(20).answer == "Done."

    spans = recorded.ended(run.run_id)
    [paid] = recorded.spans("execute_tool pay")
    assert paid.parent is None
    assert paid.trace_id != recorded.spans("invoke_agent")[0].trace_id
    assert len(spans) > 3


def test_a_tracer_that_fails_changes_nothing(recorded: Recorded, make: Make) -> None:
    class Hostile(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("no")

        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("no")

    recorded.provider.add_span_processor(Hostile())
    durable = make([[tool_call("add", a=1, b=2)], "It is 3."], add)
    assert durable.generate("Go.", timeout=20).answer == "It is 3."


@pytest.mark.parametrize("method", ["set_attribute", "set_attributes", "set_status", "end"])
def test_a_span_that_fails_changes_nothing(
    method: str, recorded: Recorded, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Span, method, fail)
    durable = make([[tool_call("add", a=1, b=2)], "It is 3."], add, model_retries=0)
    assert durable.generate("Go.", timeout=20).answer == "It is 3."


def test_tools_and_hooks_are_in_the_trace_of_their_run(recorded: Recorded, make: Make) -> None:
    tracer = trace.get_tracer("shop")

    @tool
    def threaded() -> str:
        """Ask the database from a thread."""
        with tracer.start_as_current_span("SELECT 1"):
            return "one"

    @tool
    async def awaited(ctx: ToolContext) -> str:
        """Ask the database from the loop."""
        with tracer.start_as_current_span("SELECT 2"):
            return "two"

    def on_finish(_event: Any) -> None:
        with tracer.start_as_current_span("tell the shop"):
            pass

    script = [[tool_call("threaded"), tool_call("awaited")], "Done."]
    run = make(script, threaded, awaited, on_finish=on_finish).stream("Go.")
    run.result(20)
    recorded.ended(run.run_id)

    parents = {
        span.name: next(s.name for s in recorded.spans() if s.span_id == span.parent)
        for span in recorded.spans()
        if span.scope == "shop"
    }
    assert parents == {
        "SELECT 1": "execute_tool threaded",
        "SELECT 2": "execute_tool awaited",
        "tell the shop": run_name(recorded),
    }


def test_a_message_that_begins_a_run_begins_its_trace(
    recorded: Recorded, make: Make, redis_server: RedisServer
) -> None:
    durable = make(["Hi."])
    first = durable.stream("Hello.", thread_id="t-follows")
    first.result(20)
    with trace.get_tracer("web").start_as_current_span("POST /message"):
        receipt = durable.send(first.run_id, "And you?")
    durable.observe(receipt.run_id).result(20)
    recorded.ended(receipt.run_id)

    [handler] = recorded.spans("POST /message")
    _, start = recorded.spans("invoke_agent")
    assert receipt.begins_run
    assert start.attributes["evented_agent.run.id"] == receipt.run_id
    assert (start.trace_id, start.parent) == (handler.trace_id, handler.span_id)
    assert field_of(redis_server, durable, receipt.run_id).split("-")[1] == handler.trace_id
    assert recorded.spans("chat")[-1].parent == start.span_id


def run_name(recorded: Recorded) -> str:
    [start] = recorded.spans("invoke_agent")
    return start.name


def test_nothing_is_traced_or_stored_where_the_setting_says_so(
    recorded: Recorded, make: Make, redis_server: RedisServer
) -> None:
    durable = make(["Hi."], settings=Settings(tracing=False))
    run = durable.stream("Go.")
    run.result(20)

    assert recorded.spans() == []
    assert field_of(redis_server, durable, run.run_id) == ""


@pytest.mark.parametrize("is_installed", [True, False])
def test_without_a_provider_no_module_is_imported_and_nothing_is_stored(
    is_installed: bool, redis_server: RedisServer
) -> None:
    code = f"""
import sys
if not {is_installed}:
    sys.modules["opentelemetry"] = None
import evented_agent
from evented_agent import Agent, create_durable_agent
from evented_agent.testing import ScriptedModel
durable = create_durable_agent(Agent(id="off", model=ScriptedModel(["Hi."])),
    redis_url={redis_server.url!r})
run = durable.stream("Go.")
run.result(20)
import redis
client = redis.Redis.from_url({redis_server.url!r}, decode_responses=True)
assert "trace" not in client.hgetall(durable.client.keys.of(run.run_id).run)
durable.close()
print([name for name in sys.modules if "telemetry.recording" in name or "measuring" in name])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.splitlines() == ["[]"], done.stderr
