"""Turns what goes wrong in a model call into `ModelError`.  Knows the SDK's exceptions, no API."""

import base64
import email.utils
import json
import math
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

import openai

from evented_agent.errors import (
    AuthenticationFailed,
    ContentFiltered,
    ContextTooLong,
    HistoryRefused,
    ModelError,
    QuotaExceeded,
    RateLimited,
)
from evented_agent.models.openai.profiles import is_about_history, place_in_history


def _transport_error() -> type[Exception]:
    """What the SDK's HTTP library raises; older SDKs let it through while a stream is read."""
    base = openai.DefaultAsyncHttpxClient.__mro__[-2]
    library: Any = sys.modules[base.__module__.partition(".")[0]]
    found: type[Exception] = library.TransportError
    return found


_TRANSPORT_ERROR = _transport_error()
#: What a call can raise: the SDK's errors, a socket's, and those of reading a malformed chunk.
FAILURES = (
    openai.OpenAIError,
    _TRANSPORT_ERROR,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)

_LONGEST = 300
# A shorter key is some local server's dummy and may be part of an ordinary word.
_SHORTEST_SECRET = 6
_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_OUT_OF_MONEY = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"}
)
_TOO_FAST = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests", "slow_down"})
_FILTERED = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
)
_NO_ACCESS = frozenset({"invalid_api_key", "authentication_error", "permission_error"})
_NO_MONEY = re.compile(
    r"(?i)exceeded your current quota|insufficient (?:balance|credits|funds|quota)"
    r"|requires more credits|out of credits|billing (?:hard )?limit"
)
_TOO_LONG = re.compile(
    r"(?i)context (?:length|window|size)|maximum context|max context|prompt (?:is )?too long"
    r"|too many (?:input |prompt )?tokens|reduce the length|input (?:is |token count )?too long"
    r"|input token count .*exceeds"
)
_FILTER = re.compile(
    r"(?i)content (?:management|usage) polic|content[ _-]filter|violates (?:our |the )?usage"
    r"|safety (?:system|check|filter)|flagged (?:by|as)"
)
_NO_KEY = re.compile(r"(?i)(?:incorrect|invalid|wrong) api key|no api key provided")
# Codes and types that providers report inside a stream for trouble of their own.
_PASSING = frozenset(
    {
        "server_error",
        "rate_limit_exceeded",
        "rate_limit_error",
        "vector_store_timeout",
        "internal_error",
        "internal_server_error",
        "internalservererror",
        "api_error",
        "error",
        "insufficient_system_resource",
        "malformed_function_call",
        "network_error",
        "overloaded",
        "overloaded_error",
        "server_is_overloaded",
        "service_unavailable",
        "slow_down",
        "timeout",
    }
)
# What looks like a credential, whoever sent it: a key, what follows a scheme, the part of a URL
# before its host; and what follows the name of a header or a parameter.
_SECRETS = re.compile(
    r"\bsk-[\w*.…-]{3,}"
    r"|(?i:(?<=bearer )\S+|(?<=basic )[\w+/=-]{6,})"
    r"|(?<=://)[^\s/@]+(?=@)"
)
_NAMED = re.compile(
    r"""(?ix)((?<!\w)(?:authorization|(?:x-)?(?:goog-)?api[-_]?key|access[-_]?token|passwo?r?d)
    ['"]?\s*[:=]\s*['"]?)(?!bearer\ |basic\ |\[redacted\])[^\s'",;&}]+"""
)
_BASE64 = "[A-Za-z0-9+/_=-]"
_WAIT = re.compile(r"try again in (\d+(?:\.\d+)?) ?(ms|s)\b", re.IGNORECASE)
_HIDDEN = "[redacted]"


@dataclass(frozen=True, slots=True)
class Faults:
    """The failures of one call; *source* names model and server, *timeout* is in seconds.

    No text made here contains *key*, a header or the request.
    """

    source: str
    timeout: float
    key: str = field(repr=False)
    #: What else was sent and must not be seen: the credentials of a base URL.
    more: tuple[str, ...] = field(default=(), repr=False)

    def unsent(self, error: Exception) -> ModelError:
        """Return the error for a call that failed before its answer began."""
        if isinstance(error, (openai.APIError, TimeoutError, _TRANSPORT_ERROR)):
            return self.of(error)
        retryable = isinstance(error, OSError | RuntimeError)
        return self._error(f"could not be asked ({_brief(error)})", retryable=retryable)

    def of(self, error: Exception) -> ModelError:
        """Return the error for *error*, which is one of `FAILURES`."""
        if isinstance(error, openai.APIStatusError):
            return self._refused(error)
        if isinstance(error, openai.APIError) and not isinstance(error, openai.APIConnectionError):
            return self.reported(error.body)
        return self._error(self._lost(error), retryable=True)

    def reported(self, problem: object, around: object = None) -> ModelError:
        """Return the error for a failure that the provider reported inside the stream.

        *around* is what the problem stood in, which may have the code or the words.
        """
        code, kind, text = _told(problem)
        if around is not None:
            more = _told(around)
            code, kind, text = code or more[0], kind or more[1], text or more[2]
            kind = "" if kind == "error" else kind
        label = code or kind or "an error"
        wait = _WAIT.search(text)
        seconds = float(wait[1]) / (1000 if wait[2] == "ms" else 1) if wait else None
        fault = fault_of(None, code, kind, text)
        retryable = _may_pass(code, kind) and fault in (ModelError, RateLimited)
        return self._error(
            f"reported {label}", text, retryable=retryable, retry_after=seconds, fault=fault
        )

    def of_history(self, error: ModelError) -> ModelError:
        """Return the error for a conversation that was refused as it is, and repaired as well."""
        if not is_about_history(str(error)):
            return error
        place = place_in_history(str(error))
        index = None if place is None else place[1]
        named = "" if place is None else f" It names {place[0]}[{index}] of the request."
        return HistoryRefused(
            f"{error}{named} The conversation was sent as it is, and once more repaired.",
            message_index=index,
            status=error.status,
        )

    def cut_off(self) -> ModelError:
        """Return the error for a stream that ended before the answer was complete."""
        return self._error("ended its stream before the answer was complete", retryable=True)

    def not_a_stream(self, content_type: str, text: str = "") -> ModelError:
        """Return the error for a successful reply that is no event stream, but says *text*."""
        try:
            said = json.loads(text) if text else None
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, Mapping) and said.get("error"):
            return self.reported(said["error"], said)
        return self._error(
            f"answered with {content_type or 'no content type'} instead of an event stream",
            "Check the base URL; it usually ends in /v1.",
            retryable=False,
        )

    def _lost(self, error: Exception) -> str:
        match error:
            case openai.APITimeoutError():
                return f"timed out ({_cause(error)})"
            case openai.APIConnectionError():
                return f"lost the connection ({_cause(error)})"
            case _ if isinstance(error, _TRANSPORT_ERROR):
                return f"lost the connection ({_brief(error)})"
            case TimeoutError():
                return f"did not finish within {self.timeout:g} s"
        return f"sent a chunk that cannot be read ({_brief(error)})"

    def _refused(self, error: openai.APIStatusError) -> ModelError:
        code, kind, text = _told(error.body)
        status, label = error.status_code, code or kind
        said = f"answered {status}" + (f" {label}" if label else "")
        headers: Mapping[str, str] = error.response.headers
        fault = fault_of(status, code, kind, text)
        retryable = _status_may_pass(status, headers, {code, kind}) and fault is not QuotaExceeded
        return self._error(
            said,
            text,
            retryable=retryable,
            retry_after=retry_after(headers),
            fault=fault,
            status=status,
        )

    def _error(
        self,
        said: str,
        text: str = "",
        *,
        retryable: bool,
        retry_after: float | None = None,
        fault: type[ModelError] = ModelError,
        status: int | None = None,
    ) -> ModelError:
        message = self.redact(f"{said}: {text}" if text else f"{said}.")
        if len(message) > _LONGEST:
            message = message[: _LONGEST - 1] + "…"
        return fault(
            f"{self.source} {message}",
            retryable=retryable,
            retry_after=retry_after if retryable else None,
            status=status,
        )

    def redact(self, text: str) -> str:
        """Return *text* as one line without what was sent, in whatever form, or looks like it."""
        for secret in (self.key, *self.more):
            text = _forms(secret).sub(_HIDDEN, text)
        text = _NAMED.sub(rf"\g<1>{_HIDDEN}", _SECRETS.sub(_HIDDEN, text))
        return " ".join(text.split())


def _forms(secret: str) -> re.Pattern[str]:
    """A secret as it is, as URLs and JSON write it, and in base64, also amid something longer."""
    if len(secret) < _SHORTEST_SECRET:
        return re.compile(rf"(?<!\w){re.escape(secret)}(?!\w)")
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    plain.add(json.dumps(secret)[1:-1])
    encoded = {core for skipped in range(3) if (core := _base64_core(secret, skipped))}
    encoded |= {core.replace("+", "-").replace("/", "_") for core in encoded}
    # Upper and lower case are the same to whoever decodes %2f.
    forms = [f"(?i:{re.escape(each)})" for each in sorted(plain, key=len, reverse=True)]
    forms += [f"{_BASE64}*{re.escape(core)}{_BASE64}*" for core in sorted(encoded)]
    return re.compile("|".join(forms))


def _base64_core(secret: str, skipped: int) -> str:
    """What base64 has of a secret for sure, where *skipped* bytes, modulo 3, come before it."""
    raw = bytes(skipped) + secret.encode()
    first, last = -(-skipped * 8 // 6), len(raw) * 8 // 6
    core = base64.b64encode(raw).decode()[first:last]
    return core if len(core) >= _SHORTEST_SECRET else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the provider asks to wait, from either form of the header."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or not given:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _status_may_pass(status: int, headers: Mapping[str, str], labels: set[str]) -> bool:
    if labels & _OUT_OF_MONEY:
        return False
    advice = headers.get("x-should-retry")
    if advice in {"true", "false"}:
        return advice == "true"
    return status in _RETRYABLE_STATUS or status >= 500


def _may_pass(code: str, kind: str) -> bool:
    if code in _OUT_OF_MONEY or kind in _OUT_OF_MONEY:
        return False
    if code.isdecimal() and len(code) < 10:
        return int(code) in _RETRYABLE_STATUS or int(code) >= 500
    labels = {code.lower(), kind.lower()} - {""}
    # The request was accepted before, so an error without a name is the provider's own.
    return not labels or bool(labels & _PASSING)


def fault_of(status: int | None, code: str, kind: str, text: str) -> type[ModelError]:
    """Which kind of error a provider's words are; `ModelError` where it is none of the known."""
    labels = {code.lower(), kind.lower()}
    if labels & _OUT_OF_MONEY or status == 402 or _NO_MONEY.search(text):
        return QuotaExceeded
    if status == 429 or labels & _TOO_FAST:
        return RateLimited
    if status is None or 400 <= status < 500:
        if "context_length_exceeded" in labels or _TOO_LONG.search(text):
            return ContextTooLong
        if labels & _FILTERED or _FILTER.search(text):
            return ContentFiltered
    if status in (401, 403) or labels & _NO_ACCESS or _NO_KEY.search(text):
        return AuthenticationFailed
    return ModelError


def _told(problem: object) -> tuple[str, str, str]:
    """Return code, type and text of a provider's error, in the shapes that servers use."""
    if isinstance(problem, str):
        return "", "", "" if problem.lstrip().startswith("<") else problem
    if isinstance(problem, list):
        # Gemini's: a list of what stands alone elsewhere.
        return _told(problem[0]) if problem and isinstance(problem[0], Mapping) else ("", "", "")
    if not isinstance(problem, Mapping):
        return "", "", ""
    inner = problem.get("error")
    if isinstance(inner, Mapping):
        return _told(inner)
    code, kind = problem.get("code"), problem.get("type") or problem.get("status")
    return (
        "" if code is None else str(code),
        kind if isinstance(kind, str) else "",
        _text(problem),
    )


def _text(problem: Mapping[str, Any]) -> str:
    text = _said(problem)
    upstream = problem.get("metadata")
    raw = upstream.get("raw") if isinstance(upstream, Mapping) else None
    if not raw:
        return text
    # OpenRouter's own sentence says nothing; what the provider behind it said stands here.
    words = _words(raw)
    return f"{text}: {words}" if text and words else words or text


def _said(problem: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "error", "msg", "error_description", "title"):
        text = problem.get(name)
        if isinstance(text, str):
            return text
    # FastAPI servers answer 422 with a list; its "input" would repeat the request.
    detail = problem.get("detail")
    if not isinstance(detail, list):
        # Mistral's has the list in the message.
        message = problem.get("message")
        detail = message.get("detail") if isinstance(message, Mapping) else None
    if isinstance(detail, list) and detail and isinstance(detail[0], Mapping):
        return f"{detail[0].get('loc', '')} {detail[0].get('msg', '')}".strip()
    return ""


def _words(raw: object) -> str:
    """The sentence in an error that was passed on as it came: an object, its JSON, or text."""
    if isinstance(raw, str):
        try:
            read = json.loads(raw)
        except (ValueError, RecursionError):
            return _told(raw)[2]
        return _words(read) if not isinstance(read, str) else read
    return _told(raw)[2]


def _cause(error: Exception) -> str:
    return _brief(error.__cause__ or error)


def _brief(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
