"""One streamed call to an OpenAI-compatible server, whichever of the two APIs it speaks."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import openai

from evented_agent.errors import DeclarationError, ModelError
from evented_agent.models.guard import check_allowed
from evented_agent.models.openai.clients import client_for, without_credentials
from evented_agent.models.openai.faults import FAILURES, Faults
from evented_agent.models.protocol import AnswerEnded, ModelEvent, ModelRequest

_DEFAULT_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0
# A complete answer is not held up for long by a server that does not end its stream.
_TAIL_SECONDS = 1.0
_OWN_SETTINGS = frozenset(
    {
        "background",
        "input",
        "instructions",
        "messages",
        "model",
        "n",
        "stream",
        "tool_choice",
        "tools",
    }
)
_END: Any = object()


class Answer(Protocol):
    """Reads the events of one answer."""

    #: Whether the provider has said how the answer ended.
    is_complete: bool

    def read(self, event: Any) -> Iterable[ModelEvent]:
        """Translate one event; any exception but `ModelError` means that it is malformed."""
        ...

    def end(self) -> AnswerEnded:
        """Return the last event of a complete answer."""
        ...


@dataclass(frozen=True)
class OpenAIModel:
    """A model behind an OpenAI-compatible server.

    *base_url* defaults to ``OPENAI_BASE_URL``, then to OpenAI's own; that variable and the one
    that *api_key_env* names are read at each call.  *timeout* limits a whole call, in seconds.
    """

    provider: ClassVar[str]
    path: ClassVar[str]

    model: str
    base_url: str | None = field(default=None, repr=False)
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if not self.model:
            raise DeclarationError('The model has no name. Write one, as in "openai/gpt-5.5".')
        if not self.timeout > 0:
            raise DeclarationError(f"timeout={self.timeout!r} is not a positive number of seconds.")
        if self.base_url is not None and not _host(self.base_url):
            shown = re.sub("//[^/@]*@", "//", self.base_url)
            raise DeclarationError(f"base_url={shown!r} is not an http or https URL.")

    @property
    def name(self) -> str:
        """Provider and model, as people write them."""
        return f"{self.provider}/{self.model}"

    async def _call(
        self,
        request: ModelRequest,
        write: Callable[[ModelRequest, str], dict[str, Any]],
        answer: Callable[[Faults, str], Answer],
    ) -> AsyncGenerator[ModelEvent, None]:
        """Make one call: *write* its body and read its *answer*; both are given the host."""
        reader = await self._ask(request, write, answer)
        try:
            while (pieces := await reader.read()) is not None:
                for piece in pieces:
                    yield piece
        finally:
            await reader.close()

    async def _ask(
        self,
        request: ModelRequest,
        write: Callable[[ModelRequest, str], dict[str, Any]],
        answer: Callable[[Faults, str], Answer],
    ) -> "_Reader":
        check_allowed(self.name)
        deadline = asyncio.get_running_loop().time() + self.timeout
        base_url, key = self._server_url(), self._key()
        host = _host(base_url)
        faults = Faults(f"{self.name} at {host}", self.timeout, key, _secrets_in(base_url))
        self._check(request)
        try:
            async with asyncio.timeout_at(deadline):
                body = {**write(request, host), "stream": True}
                events = await self._post(await client_for(base_url, key), body)
        except FAILURES as error:
            # Not chained: the SDK's errors hold headers and bodies, which tracebacks would show.
            raise faults.unsent(error) from None
        return _Reader(events, answer(faults, host), faults, deadline)

    async def _post(
        self, client: openai.AsyncOpenAI, body: dict[str, Any]
    ) -> openai.AsyncStream[Any]:
        # cast_to=object yields the JSON as it is; building the SDK's typed chunks costs several
        # times more than everything else done for a token.
        return await client.post(
            self.path,
            cast_to=object,
            body=body,
            options={
                "timeout": openai.Timeout(
                    self.timeout, connect=min(_CONNECT_SECONDS, self.timeout)
                ),
                "security": {"bearer_auth": True},
            },
            stream=True,
            stream_cls=openai.AsyncStream[Any],
        )

    def _check(self, request: ModelRequest) -> None:
        own = _OWN_SETTINGS & request.settings.keys()
        if own:
            raise ModelError(
                f"{self.name}: the library itself sets {', '.join(sorted(own))}. "
                "Remove it from the model settings."
            )

    def _server_url(self) -> str:
        base_url = self.base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_URL
        if not _host(base_url):
            raise ModelError(f"{self.name}: OPENAI_BASE_URL is not an http or https URL.")
        return base_url

    def _key(self) -> str:
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ModelError(
                f"{self.name} needs an API key: set the environment variable {self.api_key_env}. "
                "A local server that checks none needs a dummy, such as 'local'."
            )
        if not (key.isascii() and key.isprintable()):
            raise ModelError(
                f"{self.name}: {self.api_key_env} holds characters that no API key has. "
                "Copy the key again."
            )
        return key


class _Reader:
    """Reads one answer's events until the stream ends, the time is over or something fails."""

    def __init__(
        self, events: openai.AsyncStream[Any], answer: Answer, faults: Faults, deadline: float
    ) -> None:
        self._events = events
        self._answer = answer
        self._faults = faults
        self._deadline = deadline
        self._began = False
        self._ended = False

    async def read(self) -> Iterable[ModelEvent] | None:
        """Return what the next event says, None after the answer's end."""
        if self._ended:
            return None
        try:
            async with asyncio.timeout_at(self._until()):
                event = await anext(self._events, _END)
            if event is not _END:
                self._began = True
                return self._answer.read(event)
        except FAILURES as error:
            # What is lost after the provider's word that the answer is complete is usage at most.
            if not self._answer.is_complete:
                raise self._faults.of(error) from None
        return self._end()

    async def close(self) -> None:
        await self._events.close()

    def _until(self) -> float:
        if not self._answer.is_complete:
            return self._deadline
        return min(self._deadline, asyncio.get_running_loop().time() + _TAIL_SECONDS)

    def _end(self) -> Iterable[ModelEvent]:
        self._ended = True
        if self._answer.is_complete:
            return (self._answer.end(),)
        headers: Mapping[str, str] = self._events.response.headers
        content_type = headers.get("content-type", "")
        if self._began or content_type.startswith("text/event-stream"):
            raise self._faults.cut_off()
        raise self._faults.not_a_stream(content_type)


def _secrets_in(base_url: str) -> tuple[str, ...]:
    """The password of a URL, or the token that stands alone in its place."""
    _, credentials = without_credentials(base_url)
    if credentials is None:
        return ()
    user, password = credentials
    return (password, f"{user}:{password}") if password else (user,)


def _host(base_url: str) -> str:
    """Return host and port of an http(s) URL, without credentials; empty for anything else."""
    try:
        parts = urlsplit(base_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    is_http = parts.scheme in {"http", "https"}
    return f"{parts.hostname}{port}" if is_http and parts.hostname else ""
