"""Text and data of an MCP server, made harmless: no controls, no hidden signs, nothing secret."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from evented_agent.chunks.json_values import without_surrogates

#: Controls except tab and new lines; overrides, embeddings and isolates of writing direction, which
#: show another text than there is; signs that people cannot see and models read.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
#: A secret is looked for from this length on: shorter ones are in too many words.
_LEAST_SECRET = 8


#: Names of headers and variables that have something secret.
_SECRET_NAMES = re.compile("auth|cookie|credential|dsn|key|pass|secret|session|token", re.I)


def secrets_of(named: Mapping[str, str]) -> set[str]:
    """The values that must not be shown, by the names of their headers or variables.

    Without the scheme too: of ``Bearer abc``, ``abc`` as well.
    """
    values = [value for name, value in named.items() if _SECRET_NAMES.search(name)]
    return {*values, *(value.rpartition(" ")[2] for value in values)}


class Cleaner:
    """Cleans what one server says; *secrets* are what it was given, and must not come back."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        found = {secret for secret in secrets if len(secret) >= _LEAST_SECRET}
        # The longest first: one may be a part of another.
        longest = sorted(found, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str, most: int | None = None) -> str:
        """*text* without hidden signs and secrets, cut where it is longer than *most*."""
        text = _HIDDEN.sub("", without_surrogates(text).replace("\r\n", "\n").replace("\r", "\n"))
        if self._secret is not None:
            text = self._secret.sub("[secret]", text)
        # Last: a part of a secret would not be found.
        return text if most is None or len(text) <= most else f"{text[:most]}…"

    def data(self, value: Any) -> Any:
        """JSON data of which all text is cleaned, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.data(each) for each in value]
        if isinstance(value, dict):
            return {self.text(str(name)): self.data(each) for name, each in value.items()}
        return value
