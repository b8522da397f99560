"""``python -m evented_agent.cli.demo``: the demo without the command line tool."""

import sys

from evented_agent.cli.demo.run import run_demo

if __name__ == "__main__":
    sys.exit(run_demo(kill="--no-kill" not in sys.argv[1:]))
