"""A request over HTTP that is traced by its sender, and by who serves it."""

from typing import Any

import pytest
import redis
from opentelemetry import propagate, trace

from evented_agent import InProcessAgent
from evented_agent.web import WebApp
from tests.http.conftest import Serve
from tests.support.servers import RedisServer
from tests.support.traces import Recorded
from tests.support.workers import wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Instrumented:
    """What instrumentations of ASGI do: a span for each request, in the trace of its sender."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        context = propagate.extract(headers)
        with trace.get_tracer("asgi").start_as_current_span(scope["method"], context):
            await self._app(scope, receive, send)


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("vendor=a,other=b", "vendor=a,other=b"),
        (",".join(f"k{n}={'x' * 60}" for n in range(20)), None),
        ("vendor=a,NO KEY", ""),
    ],
)
def test_a_run_belongs_to_the_trace_of_the_request_that_started_it(
    state: str,
    kept: str | None,
    app: WebApp,
    durable: InProcessAgent,
    serve: Serve,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = Recorded(monkeypatch)
    sent = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": state, "baggage": "user=ann"}
    client = serve(Instrumented(app)).as_("ann")
    run_id = client.post("/runs", json={"agent": "talker", "input": "Hi"}, headers=sent).json()[
        "run_id"
    ]
    wait_until(lambda: durable.get(run_id).is_ended, "the run has ended")

    spans = recorded.ended(run_id)
    assert {span.trace_id for span in spans} == {TRACE}
    [request] = recorded.spans("POST")
    [start] = recorded.spans("invoke_agent")
    assert (request.parent, start.parent) == (SPAN, request.span_id)
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as found:
        stored: Any = found.hget(durable.client.keys.of(run_id).run, "trace")
    parent, _, stored_state = str(stored).partition(" ")
    assert parent.startswith(f"00-{TRACE}-{start.span_id}-")
    assert "ann" not in stored
    assert len(stored_state) <= 512
    if kept is not None:
        assert stored_state == kept
