"""Names that clients choose: they count within one resource, whatever others have chosen."""

import hashlib
import re

from evented_agent.web.exchange import bad_request
from evented_agent.web.principal import Principal

_RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
#: The longest Idempotency-Key.
_MOST_KEY = 255


def stored_run_id(who: Principal, kind: str, name: str) -> str:
    """The id under which a run is stored that *who* calls *name*: theirs alone."""
    whose = who.name if who.resource_id is None else who.resource_id
    text = f"{who.all_resources:d}:{len(whose)}:{whose}:{kind}:{name}"
    return f"n.{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:40]}"


def run_id_for(who: Principal, run_id: str | None, key: str | None) -> str | None:
    """The id of a run that is to be started; None where the client has chosen nothing.

    A service that sees all resources names runs as they are stored.
    """
    if run_id is not None and not _RUN_ID.fullmatch(run_id):
        raise bad_request("run_id: use 1 to 128 letters, digits, '.', '_' or '-'.")
    if run_id is not None:
        return run_id if who.all_resources else stored_run_id(who, "run", run_id)
    return None if key is None else stored_run_id(who, "key", checked_key(key))


def checked_key(key: str) -> str:
    """An Idempotency-Key.  Raises `HttpFailure` for what is too long, or empty."""
    if not 0 < len(key) <= _MOST_KEY:
        raise bad_request(f"Idempotency-Key: use 1 to {_MOST_KEY} characters.")
    return key
