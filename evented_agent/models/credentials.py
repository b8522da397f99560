"""Names under which credentials travel: settings are stored, so none of these belongs there."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_NAMES = re.compile(r"(?i)authori[sz]ation|cookie|(^|[-_])(api[-_]?)?key$|token|secret|passw")


def is_credential(name: object) -> bool:
    """Whether a header or a parameter of that *name* holds a credential."""
    return _NAMES.search(str(name)) is not None


def credentials_in(settings: object) -> list[str]:
    """The names of credentials in the ``extra_headers`` and ``extra_query`` of model settings."""
    if not isinstance(settings, Mapping):
        return []
    given = (settings.get(name) for name in ("extra_headers", "extra_query"))
    return [
        str(name)
        for each in given
        if isinstance(each, Mapping)
        for name in each
        if is_credential(name)
    ]


def credential_values(*given: Mapping[str, Any] | None) -> Iterable[str]:
    """The credentials among headers or parameters, to be kept out of what is said."""
    for each in given:
        for name, value in (each or {}).items():
            if is_credential(name) and isinstance(value, str) and value:
                # Without the scheme, which is no secret.
                yield value.removeprefix("Bearer ").removeprefix("Basic ")
