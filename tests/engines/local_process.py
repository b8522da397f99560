"""A process with the in-process engine, for tests that kill it: ``… REDIS_URL RUN_ID``."""

import sys

from evented_agent import Agent, create_durable_agent
from evented_agent.testing import ScriptedModel
from tests.support.words import TEXT

agent = Agent(id="speaker", model=ScriptedModel([TEXT], pause=0.05))


def main() -> None:
    redis_url, run_id, how = sys.argv[1:]
    durable = create_durable_agent(agent, redis_url=redis_url)
    if how == "start":
        run = durable.stream("Talk.", run_id=run_id)
        for part in run.text_parts():
            if part.snapshot.endswith("word20 "):
                print("speaking", flush=True)
    elif how == "leave":
        durable.stream("Talk.", run_id=run_id)
        print("left", flush=True)


if __name__ == "__main__":
    main()
