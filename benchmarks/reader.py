"""A reader in a process of its own: ``… RUN_ID``.  Prints what it saw as JSON."""

import json
import sys
import time

from benchmarks.app import agents


def main() -> None:
    runs = agents["answer"].runs_door
    print("ready", flush=True)
    for line in sys.stdin:
        first, tokens, bytes_ = 0.0, 0, 0
        for chunk in runs.observe(line.strip()):
            if chunk.type == "text-delta":
                first = first or time.monotonic()
                tokens += 1
                bytes_ += len(chunk.payload.text)
        seconds = time.monotonic() - first
        print(json.dumps({"tokens": tokens, "seconds": seconds, "bytes": bytes_}), flush=True)


if __name__ == "__main__":
    main()
