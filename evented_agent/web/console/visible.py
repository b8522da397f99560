"""What models, tools and people wrote, as pages show it: text, with nothing hidden in it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape
from pydantic import BaseModel

#: Controls, marks that turn the direction of text, and signs that nobody sees.
_HIDDEN = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_LINK = re.compile(r"https?://[^\s<>\"'`\\{}|^]+[^\s<>\"'`\\{}|^.,;:!?)\]]")
_dumps = json.JSONEncoder(ensure_ascii=False, default=str)
_pretty = json.JSONEncoder(ensure_ascii=False, default=str, indent=2)


def visible(text: str) -> str:
    """*text* with each sign that hides, or turns the direction of others, as an escape."""
    return _HIDDEN.sub(lambda found: _code(found[0]), text)


def _code(sign: str) -> str:
    code = ord(sign)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def finalized(value: Any) -> Any:
    """What an expression of a template stands for: text is made visible, None is nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def json_text(value: Any, *, is_short: bool = False) -> str:
    """*value* as JSON to be read and copied; signs that hide are written as JSON's escapes."""
    encoder = _dumps if is_short else _pretty
    return _HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], encoder.encode(plain(value)))


def plain(value: Any) -> Any:
    """*value* as plain JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def linked(text: str) -> Markup:
    """*text* with its http addresses as links, and nothing else as markup."""
    pieces, at = [], 0
    shown = visible(text)
    for found in _LINK.finditer(shown):
        address = escape(found[0])
        pieces.append(escape(shown[at : found.start()]))
        pieces.append(
            Markup(
                '<a href="{0}" rel="noopener noreferrer nofollow" target="_blank">{0}</a>'
            ).format(address)
        )
        at = found.end()
    return Markup("").join([*pieces, escape(shown[at:])])


def count(number: int) -> str:
    """A number as people read it in a narrow column: 940, 12.3k, 4.1M."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            divisor = 1_000 if unit == "k" else size
            return f"{number / divisor:.1f}".removesuffix(".0") + unit
    return f"{number:,}"


def duration(start: datetime | None, end: datetime | None) -> str:
    """How long it took from *start* to *end*, or till now; nothing without a start."""
    if start is None:
        return ""
    return seconds_text(((end or datetime.now(UTC)) - start).total_seconds())


def seconds_text(seconds: float) -> str:
    """A span of time as people read it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


_STYLES = {"clock": "%H:%M:%S", "minute": "%H:%M"}


def moment_tag(at: datetime | None, style: str = "ago") -> Markup:
    """A time that the page turns into the reader's own: "ago", "clock", "minute" or "left"."""
    if at is None:
        return Markup("")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC" data-time="{}">{}</time>').format(
        utc.isoformat(timespec="milliseconds"),
        utc.strftime("%Y-%m-%d %H:%M:%S"),
        style,
        utc.strftime(_STYLES.get(style, "%d %b %H:%M")),
    )
