"""A reader in a process of its own: takes run ids, prints what it saw of each as JSON.

``ended`` is on the monotonic clock, which all processes of a machine share.
"""

import json
import sys
import time

from benchmarks.app import agents


def main() -> None:
    runs = agents["answer"].client
    print("ready", flush=True)
    for line in sys.stdin:
        ended, tokens, last = 0.0, 0, ""
        for chunk in runs.observe(line.strip()):
            last = chunk.type
            if last == "text-delta":
                ended = time.monotonic()
                tokens += 1
        print(json.dumps({"tokens": tokens, "ended": ended, "last": last}), flush=True)


if __name__ == "__main__":
    main()
