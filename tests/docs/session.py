"""Interpreters into which blocks are pasted: a line of JSON each, and one back.

Each page has one of its own, forked from this one, which has imported the library already. A line
of JSON on the standard input asks for it: its folder, its environment, and two named pipes.
"""

import json
import linecache
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import celery  # noqa: F401 - what the blocks import

import evented_agent.testing  # noqa: F401

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    asked = sys.stdin.readline()
    if not asked:
        sys.exit()
    if os.fork() == 0:
        break
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
page = json.loads(asked)
os.environ.clear()
os.environ.update(page["env"])
os.chdir(page["folder"])
# Until it ends.
blocks = Path(page["blocks"]).open()  # noqa: SIM115
answers = Path(page["answers"]).open("w")  # noqa: SIM115
namespace: dict[str, Any] = vars(sys.modules["__main__"])
sys.path.insert(0, str(Path.cwd()))
for line in blocks:
    block = json.loads(line)
    name, source = block["name"], block["source"]
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        exec(compile(source, name, "exec"), namespace)
        answer = ""
    except BaseException:  # noqa: BLE001 - what a user would see
        answer = traceback.format_exc()
    sys.stdout.flush()
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
