"""A caller as a process of its own, with its own environment: ``… AGENT INPUT RUN_ID``."""

import sys

from tests.support.app import evented


def main() -> None:
    agent, given, run_id = sys.argv[1:]
    run = evented[agent].stream(given, run_id=run_id)
    print(run.run_id, flush=True)


if __name__ == "__main__":
    main()
