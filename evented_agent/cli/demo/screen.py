"""Plain output for a terminal or a file: lines, and text that arrives in pieces."""

import os
import re
import shutil
import sys
from typing import TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_MARGIN = "    "
_WIDEST = 96


class Screen:
    """Writes to *stream*, by default stdout; in colour on a terminal, unless NO_COLOR is set."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._is_coloured = is_terminal and not os.environ.get("NO_COLOR")
        self._width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns - 1)
        self._column = 0
        self._word = ""

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line, after ending the text that is being said."""
        self.pause()
        self._write(self._styled(text, style) + "\n")

    def short(self, text: str, style: str = "") -> None:
        """Write one line, cut to the width of the screen."""
        one_line = " ".join(text.split())
        indent = text[: len(text) - len(text.lstrip())]
        room = self._width - len(indent)
        cut = one_line if len(one_line) <= room else f"{one_line[: room - 1]}…"
        self.line(indent + cut, style)

    def say(self, text: str) -> None:
        """Write a piece of running text; lines are broken between words."""
        # The last word may not be complete yet.
        *whole, self._word = re.split(r"(?<=\s)(?=\S)", self._word + text)
        for word in whole:
            self._put(word)
        if self._word.endswith((" ", "\n")):
            self._put(self._word)
            self._word = ""

    def pause(self) -> None:
        """End the text that is being said."""
        if self._word:
            self._put(self._word)
            self._word = ""
        if self._column:
            self._write("\n")
            self._column = 0

    def _put(self, word: str) -> None:
        text = word.rstrip()
        if self._column and self._column + 1 + len(text) > self._width:
            self._write("\n")
            self._column = 0
        if text:
            gap = " " if self._column else _MARGIN
            self._write(gap + text)
            self._column += len(gap) + len(text)
        if breaks := word.count("\n"):
            self._write("\n" * breaks)
            self._column = 0

    def _styled(self, text: str, style: str) -> str:
        if not style or not self._is_coloured:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        # A terminal without arrows shows question marks instead of ending the demo.
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()
