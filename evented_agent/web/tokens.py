"""Stream tokens: for a few minutes, what a browser may do where it can send no header."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from itsdangerous import BadSignature, URLSafeTimedSerializer

from evented_agent.errors import ConfigurationError
from evented_agent.state.run_info import RunInfo
from evented_agent.web.principal import Action, ActionName, Principal

#: Seconds that a token can be used, from when it was made.
TOKEN_SECONDS = 300

_SALT = "evented_agent.web.stream-token"
_SCOPES: dict[str, frozenset[ActionName]] = {
    "read": frozenset({"read"}),
    "act": frozenset({"read", "decide", "act"}),
}
_FEWEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows: to read, or to act on, one run or the runs of one thread."""

    who: Principal
    may: Literal["read", "act"]
    run_id: str | None = None
    thread_id: str | None = None

    def principal_for(self, action: Action, run: RunInfo | None, thread: str | None) -> Any:
        """The principal, as far as the token goes; None beyond."""
        if action.name not in self.who.scopes:
            return None
        if thread is not None and thread != self.thread_id:
            return None
        if run is not None and not self._is_about(run):
            return None
        return self.who

    def _is_about(self, run: RunInfo) -> bool:
        if self.run_id is not None:
            return run.run_id == self.run_id
        return run.thread_id == self.thread_id


class StreamTokens:
    """Makes and checks tokens with the newest of *keys*; the others are those that it replaces."""

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        for key in keys:
            if len(key) < _FEWEST_BYTES:
                raise ConfigurationError(
                    f"A key of token_keys has {len(key)} characters; use {_FEWEST_BYTES} random "
                    "ones or more, the same in every process: secrets.token_urlsafe(32)."
                )
        # The library signs with the last one.
        newest_last = [key.encode() if isinstance(key, str) else key for key in reversed(keys)]
        self._signer = URLSafeTimedSerializer(newest_last, salt=_SALT) if keys else None

    @property
    def is_configured(self) -> bool:
        return self._signer is not None

    def make(
        self,
        who: Principal,
        may: str,
        *,
        run_id: str | None = None,
        thread_id: str | None = None,
    ) -> str:
        assert self._signer is not None
        claims = [may, run_id, thread_id, who.name, who.resource_id, sorted(who.scopes)]
        return str(self._signer.dumps(claims))

    def read(self, token: str) -> Grant | None:
        """What *token* allows; None for one that is too old, or none of ours."""
        if self._signer is None:
            return None
        try:
            may, run_id, thread_id, name, resource_id, scopes = self._signer.loads(
                token, max_age=TOKEN_SECONDS
            )
        except BadSignature:
            return None
        who = Principal(
            name,
            resource_id,
            all_resources=resource_id is None,
            scopes=_SCOPES[may] & frozenset(scopes),
        )
        return Grant(who, may, run_id, thread_id)


def take_token(query: bytes) -> tuple[str | None, bytes]:
    """The ``token`` of a query string, and the query without it, for the server's access log."""
    if b"token=" not in query:
        return None, query
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    token = next((value for name, value in pairs if name == "token"), None)
    rest = [(name, value) for name, value in pairs if name != "token"]
    return token, urlencode(rest).encode()
