"""A failover loses what was written last: attempts begin anew, and nobody counts as crashed."""

import contextlib

import pytest

from evented_agent import Agent, Settings, create_durable_agent
from evented_agent.testing import ScriptedModel
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import wait_until


@pytest.mark.parametrize(
    ("what", "losses"),
    # One more than the crashes that end a run; what is queued again waits for its message.
    [("chunks", 6), ("all of the attempt", 1)],
)
def test_a_run_whose_chunks_are_lost_again_and_again_finishes(
    what: str, losses: int, redis_server: RedisServer
) -> None:
    prefix = f"losses-{what[:3]}"
    agent = Agent(id="speaker", model=ScriptedModel([TEXT], pause=0.03))
    settings = Settings(prefix=prefix)
    durable = create_durable_agent(agent, redis_url=redis_server.url, settings=settings)
    with contextlib.closing(durable), redis_server.client() as client:
        run = durable.stream("Talk.")
        keys = durable.client.keys.of(run.run_id)
        names = [key for key in keys.own if key not in (keys.alarms, keys.bells)]

        def length() -> int:
            return int(client.xlen(keys.topic))

        def attempts() -> int:
            return sum(b"step-reset" in entry[b"d"] for _, entry in client.xrange(keys.topic))

        kept = {name: client.dump(name) for name in names} if what != "chunks" else {}
        for n in range(losses):
            before = length()
            wait_until(lambda before=before: length() > before + 3, "it speaks")  # type: ignore[misc]
            if what == "chunks":
                kept = {name: client.dump(name) for name in names}
                said = length()
                wait_until(lambda said=said: length() > said + 3, "it says more")  # type: ignore[misc]
            with client.pipeline() as pipeline:
                for name, stored in kept.items():
                    pipeline.delete(name)
                    if stored is not None:
                        pipeline.restore(name, 0, stored)
                pipeline.execute()
            if what == "chunks":
                wait_until(lambda n=n: attempts() > n, "it begins anew")  # type: ignore[misc]

        wait_until(lambda: durable.client.get(run.run_id).is_ended, "it has ended", 60)
        result = durable.client.result(run.run_id)
        assert (result.status, result.text) == ("finished", TEXT)
