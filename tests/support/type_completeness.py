"""How much of the library a type checker knows without guessing; `make check` asks."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The least share of known types, of all names that do not begin with an underscore.
LEAST = 0.95
SHOWN = 20


def measured() -> Mapping[str, Any]:
    """What basedpyright says of the package that is installed here."""
    here = Path(sys.executable).parent
    # It asks the first `python` on the path where packages are.
    found = subprocess.run(
        [
            here / "basedpyright",
            "--verifytypes",
            "evented_agent",
            "--ignoreexternal",
            "--outputjson",
        ],
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        # Any unknown type is an error there.
        check=False,
    )
    completeness: Mapping[str, Any] = json.loads(found.stdout)["typeCompleteness"]
    return completeness


def main() -> int:
    completeness = measured()
    score = completeness["completenessScore"]
    print(f"Types are known of {score:.1%} of the public names; {LEAST:.0%} are asked for.")
    if score >= LEAST:
        return 0
    unknown = [
        f"{symbol['name']}: {problem['message'].splitlines()[0]}"
        for symbol in completeness["symbols"]
        if symbol["isExported"] and not (symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"])
        for problem in symbol["diagnostics"][:1]
    ]
    print("\n".join(unknown[:SHOWN]))
    return 1


if __name__ == "__main__":
    sys.exit(main())
