"""One run in a process of its own, traced by whoever the first argument names."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from evented_agent import Agent, create_durable_agent, tool
from tests.docs.answers import Teller
from tests.support.servers import RedisServer
from tests.support.traces import FILE, FileExporter, StoredSpan, spans_in
from tests.support.workers import ROOT

#: What we trace of that run.
OURS = {
    "invoke_agent clerk": 1,
    "chat gpt-5.5": 2,
    "execute_tool order_status": 1,
    "end_run clerk": 1,
}


def spans_of_one_run(
    who: str, redis_server: RedisServer, folder: Path, **env: str
) -> Sequence[StoredSpan]:
    """The spans of the run: two model calls and a tool."""
    model = Teller()
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.traced_run", who]
    given = {
        "TEST_REDIS_URL": redis_server.url,
        FILE: str(folder / "spans"),
        "OPENAI_API_KEY": "key",
        "OPENAI_BASE_URL": model.url,
    }
    subprocess.run(command, env={**os.environ, **given, **env}, cwd=ROOT, check=True, timeout=60)
    model.close()
    return spans_in(folder / "spans")


def names(spans: Sequence[StoredSpan], scope: str = "evented_agent") -> Counter[str]:
    """How often there is a span of each name, of one scope."""
    return Counter(span.name for span in spans if span.scope == scope)


def set_up(who: str) -> None:
    processor = SimpleSpanProcessor(FileExporter(os.environ[FILE], who))
    if who.startswith("logfire"):
        import logfire

        logfire.configure(
            send_to_logfire=False, console=False, additional_span_processors=[processor]
        )
        if who == "logfire_openai":
            logfire.instrument_openai()
        return
    provider = TracerProvider()
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    if who == "openai":
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    if who == "langfuse":
        import langfuse
        import langfuse.openai

        langfuse.Langfuse(public_key="pk", secret_key="sk", base_url=os.environ["TEST_LANGFUSE"])


@tool
def order_status(order_id: int) -> str:
    """Where an order is."""
    return f"order {order_id} was shipped"


if __name__ == "__main__":
    set_up(sys.argv[1])
    clerk = Agent(id="clerk", model="openai/gpt-5.5", tools=[order_status])
    durable = create_durable_agent(clerk, redis_url=os.environ["TEST_REDIS_URL"])
    assert durable.generate("Where is order 7?", timeout=30).answer.startswith("Order 7 was")
    durable.close()
    if sys.argv[1] == "langfuse":
        from langfuse import get_client

        get_client().flush()
