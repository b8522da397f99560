"""Command lines that ask for the same as a page: quoted for a shell, without any credential."""

import json
import shlex
from collections.abc import Mapping
from typing import Any


def curl_get(address: str, *, is_stream: bool = False) -> str:
    return shlex.join(["curl", "-N" if is_stream else "-sS", address])


def curl_post(address: str, body: Mapping[str, Any]) -> str:
    # ASCII: nothing in a pasted line hides, or turns its direction.
    data = json.dumps(body)
    header = "content-type: application/json"
    return shlex.join(["curl", "-sS", "-X", "POST", "-H", header, "-d", data, address])
