"""How OpenAI's clients are told that a request is refused."""

from collections.abc import Mapping
from dataclasses import dataclass

from evented_agent.web.exchange import PlainReply, object_reply
from evented_agent.web.failures import HttpFailure

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
#: The clients send a request again by themselves after a 409, and know no 410 and 422.
_STATUSES = {409: 400, 410: 404, 422: 400}
#: Refusals that the clients would only meet again, or that may come when the run exists.
_FINAL = ("internal_error", "too_many_streams")

#: The clients do not send a request again that is answered with this.
NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}


@dataclass
class WrongField(HttpFailure):
    """A field of a request that is refused.

    Attributes:
        param: Which field: ``input[0].content``.
    """

    param: str = ""


#: Most characters of a field's name that are told back.
_MOST_PARAM = 100


def wrong_field(param: str, message: str, code: str = "invalid_value") -> WrongField:
    """The refusal of a field, ``input[0].content``, for what *message* says of it."""
    param = param[:_MOST_PARAM]
    return WrongField(400, code, f"{param}: {message}", param=param)


def openai_failure(failure: HttpFailure) -> PlainReply:
    """A refusal in OpenAI's form; what the clients must not repeat is marked."""
    status = _STATUSES.get(failure.status, failure.status)
    headers = {**(NO_RETRY if failure.code in _FINAL else {}), **failure.headers}
    return object_reply({"error": error_object(failure)}, status, headers)


def error_object(failure: HttpFailure) -> dict[str, str | None]:
    default = "server_error" if failure.status >= 500 else "invalid_request_error"
    return {
        "message": failure.message,
        "type": _TYPES.get(failure.status, default),
        "param": failure.param if isinstance(failure, WrongField) else None,
        "code": failure.code,
    }
