"""An interpreter into which blocks are pasted: a line of JSON each, and one back."""

import json
import linecache
import os
import sys
import traceback
from pathlib import Path
from typing import Any

answers = os.fdopen(int(sys.argv[1]), "w")
namespace: dict[str, Any] = vars(sys.modules["__main__"])
sys.path.insert(0, str(Path.cwd()))
for line in sys.stdin:
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
