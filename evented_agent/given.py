"""What callers pass, checked alike everywhere: waits, counts, texts, names of options."""

import difflib
from collections.abc import Collection, Iterable
from datetime import datetime

from evented_agent.durations import as_seconds
from evented_agent.errors import DeclarationError

#: The largest whole number that every reader of what is stored has exactly.
MOST_COUNT = 2**53


def as_stored_count(given: int) -> int:
    """A whole number as it is stored; what is larger means no limit."""
    return min(given, MOST_COUNT)


def check_names(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that *owner* does not take, with the one that was probably meant."""
    for name in given:
        if name not in known:
            raise DeclarationError(
                f"{owner} got an unexpected keyword argument {name!r}.{_meant(name, known)}"
            )


def wait_of(name: str, given: object) -> float | None:
    """A wait that a caller passed, in seconds; None for no limit."""
    if given is None:
        return None
    seconds = as_seconds(given)
    if seconds is None:
        raise DeclarationError(
            f"{name}={given!r}: pass seconds from 0 up, a timedelta, or None for no limit."
        )
    return seconds


def check_count(name: str, given: object, *, least: int = 1) -> None:
    """Refuse what is no whole number of *least* or more."""
    if type(given) is not int or given < least:
        raise DeclarationError(f"{name}={given!r}: pass a whole number, {least} or more.")


def check_optional_text(name: str, given: object) -> None:
    """Refuse what is neither a text nor left out; half a surrogate pair is no character."""
    if given is not None and not (isinstance(given, str) and _is_text(given)):
        raise DeclarationError(f"{name}={given!r}: pass a text, or leave it out.")


def check_optional_time(name: str, given: object) -> None:
    """Refuse what is neither a time nor left out."""
    if given is not None and not isinstance(given, datetime):
        raise DeclarationError(
            f"{name}={given!r}: pass a datetime, such as datetime.now(UTC) - timedelta(hours=1)."
        )


def _is_text(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" It takes: {', '.join(sorted(known))}."
