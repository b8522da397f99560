"""One streamed call to an OpenAI-compatible server, whichever of the two APIs it speaks."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import openai

from evented_agent.errors import DeclarationError, ModelError
from evented_agent.models.credentials import credential_values, credentials_in
from evented_agent.models.guard import check_allowed
from evented_agent.models.openai.clients import (
    HttpClient,
    Token,
    client_for,
    host_of,
    key_for,
    secrets_in,
    without_credentials,
)
from evented_agent.models.openai.events import TAIL_SECONDS, Events, object_in
from evented_agent.models.openai.faults import FAILURES, Faults
from evented_agent.models.openai.profiles import Profile, profile_after_refusal, profile_of
from evented_agent.models.openai.servers import Server
from evented_agent.models.protocol import AnswerEnded, ModelEvent, ModelRequest

_CONNECT_SECONDS = 10.0
# Longer than `TAIL_SECONDS`: the end came with a piece, as that of each piece does of some servers.
_PIECE_SECONDS = 15.0
# Most characters of a reply that is no stream, and says what is wrong.
_MOST_REPLY = 64 * 1024
_OWN_SETTINGS = frozenset(
    {"background", "input", "instructions", "messages", "model", "n", "stream", "tool_choice"}
)
_END: Any = object()


class Answer(Protocol):
    """Reads the events of one answer."""

    #: Whether the provider has said how the answer ended.
    is_complete: bool
    #: Whether that came together with a piece, so that more may follow.
    may_go_on: bool

    def read(self, event: Any) -> Iterable[ModelEvent]:
        """Translate one event; any exception but `ModelError` means that it is malformed."""
        ...

    def read_whole(self, said: Any) -> Iterable[ModelEvent]:
        """Translate an object that came in place of a stream, if it is an answer."""
        ...

    def finished(self, *, said_done: bool) -> bool:
        """Whether the answer is complete, now that the stream has ended."""
        ...

    def end(self) -> AnswerEnded:
        """Return the last event of a complete answer."""
        ...


@dataclass(frozen=True)
class OpenAIModel:
    """A model behind an OpenAI-compatible server.

    *base_url* defaults to ``OPENAI_BASE_URL``, then to OpenAI's own; that variable and the one
    that *api_key_env* names are read at each call.  *timeout* limits a whole call, in seconds.

    *profile* says what the model takes and wants; it is looked up by model and host, unless given.
    *headers*, *query* and *body* are sent with each call; a value of None removes what the library
    sends under that name.  *token* is a function, plain or ``async``, that returns the key for a
    call, instead of *api_key_env*.  *http_client* is a client of the kind that the installed
    openai takes, or a function that makes one, called once in each process and event loop.
    *server* is what a name such as ``mistral/…`` stands for.  *priced_as* says which provider's
    price of which model holds, such as ``openai/gpt-5.5``, where the server or the model has
    another name; it is looked up by URL and model unless given.
    """

    provider: ClassVar[str]
    path: ClassVar[str]

    model: str
    base_url: str | None = field(default=None, repr=False)
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    profile: Profile | None = field(default=None, repr=False, kw_only=True)
    headers: Mapping[str, str | None] | None = field(default=None, repr=False, kw_only=True)
    query: Mapping[str, Any] | None = field(default=None, repr=False, kw_only=True)
    body: Mapping[str, Any] | None = field(default=None, repr=False, kw_only=True)
    token: Token | None = field(default=None, repr=False, kw_only=True)
    http_client: HttpClient = field(default=None, repr=False, kw_only=True)
    server: Server = field(default_factory=Server, repr=False, kw_only=True)
    priced_as: str | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.model:
            raise DeclarationError('The model has no name. Write one, as in "openai/gpt-5.5".')
        if not self.timeout > 0:
            raise DeclarationError(f"timeout={self.timeout!r} is not a positive number of seconds.")
        if self.base_url is not None and not host_of(self.base_url):
            shown = re.sub("//[^/@]*@", "//", self.base_url)
            raise DeclarationError(f"base_url={shown!r} is not an http or https URL.")
        if self.profile is not None and not isinstance(self.profile, Profile):
            raise DeclarationError(f"profile={self.profile!r}. Pass a Profile(…).")
        if self.priced_as is not None and not all(str(self.priced_as).partition("/")):
            raise DeclarationError(
                f'priced_as={self.priced_as!r}. Pass provider and model, as in "openai/gpt-5.5".'
            )

    @property
    def name(self) -> str:
        """Provider and model, as people write them."""
        return f"{self.server.name or self.provider}/{self.model}"

    @property
    def server_address(self) -> tuple[str, int] | None:
        """Host and port of the server, for traces; None where none is named."""
        server = self.server
        url = self.base_url or os.environ.get(server.url_env) or server.url
        if not url or not host_of(url):
            return None
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def price_url(self) -> str:
        """The server's base URL, by which prices are looked up; "" where none is named."""
        try:
            url = self._server_url()
        except ModelError:
            return ""
        return without_credentials(url)[0]

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Call the model once; see `Model.stream`.

        A call that is refused because of its conversation is made once more, in a stricter form;
        one that is refused because of what the library adds, without that.
        """
        return self._events(request)

    def _body(self, request: ModelRequest, profile: Profile, origin: str) -> dict[str, Any]:
        raise NotImplementedError

    def _answer(
        self, request: ModelRequest, profile: Profile, origin: str, faults: Faults
    ) -> Answer:
        raise NotImplementedError

    async def _events(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        reader = await self._ask(request)
        try:
            while (pieces := await reader.read()) is not None:
                for piece in pieces:
                    yield piece
        finally:
            await reader.close()

    async def _ask(self, request: ModelRequest) -> "_Reader":
        check_allowed(self.name)
        seconds = _seconds(request, self.timeout)
        deadline = asyncio.get_running_loop().time() + seconds
        base_url = self._server_url()
        self._check(request)
        key = await self._key()
        host = host_of(base_url)
        secrets = (*secrets_in(base_url), *credential_values(self.headers, self.query))
        faults = Faults(f"{self.name} at {host}", seconds, key, secrets)
        profile = self.profile or profile_of(self.model, host)
        call = _Call(self, request, faults, base_url, key, deadline)
        try:
            return await call.ask(profile)
        except ModelError as error:
            refused = error
        second = call.second_try(profile, refused)
        if second is None:
            raise refused
        try:
            return await call.ask(second)
        except ModelError:
            raise faults.of_history(refused) from None

    def _check(self, request: ModelRequest) -> None:
        own = _OWN_SETTINGS & request.settings.keys()
        if own:
            raise ModelError(
                f"{self.name}: the library itself sets {', '.join(sorted(own))}. "
                "Remove it from the model settings."
            )
        secret = credentials_in(request.settings)
        if secret:
            raise ModelError(
                f"{self.name}: model settings may not hold {', '.join(secret)}: settings are "
                "stored. Pass headers=, query= or token= where the model is declared."
            )

    def _server_url(self) -> str:
        server = self.server
        base_url = self.base_url or os.environ.get(server.url_env) or server.url
        if not base_url:
            raise ModelError(
                f"{self.name} needs a server: set the environment variable {server.url_env}, "
                "or pass base_url."
            )
        if not host_of(base_url):
            raise ModelError(f"{self.name}: {server.url_env} is not an http or https URL.")
        parts = urlsplit(base_url)
        has_path = parts.path.strip("/") or not server.path
        return base_url if has_path else parts._replace(path=server.path).geturl()

    async def _key(self) -> str:
        needs_key = self.server.needs_key
        return await key_for(self.name, self.api_key_env, self.token, needs_key=needs_key)

    def _origin(self, base_url: str) -> str:
        """Names who answers: what it says is returned to it alone.  Holds no part of the path."""
        path = urlsplit(base_url).path.rstrip("/")
        digest = hashlib.sha256(path.encode()).hexdigest()[:8]
        # As older versions wrote it, wherever the path says nothing.
        place = "" if path in ("", "/v1") else f"#{digest}"
        return f"{self.model} at {host_of(base_url)}{place}"


class _Call:
    """One call, which may be made twice."""

    def __init__(
        self,
        model: OpenAIModel,
        request: ModelRequest,
        faults: Faults,
        base_url: str,
        key: str,
        deadline: float,
    ) -> None:
        self._model = model
        self._request = request
        self._faults = faults
        self._deadline = deadline
        self._base_url = base_url
        self._key = key
        self._origin = model._origin(base_url)  # noqa: SLF001 - its own call

    async def ask(self, profile: Profile) -> "_Reader":
        model, request = self._model, self._request
        try:
            async with asyncio.timeout_at(self._deadline):
                body = {**model._body(request, profile, self._origin), **(model.body or {})}  # noqa: SLF001
                body |= dict(request.settings.get("extra_body") or {})
                body = {name: value for name, value in body.items() if value is not None}
                events = await self._post({**body, "stream": True}, profile)
        except FAILURES as error:
            # Not chained: the SDK's errors hold headers and bodies, which tracebacks would show.
            raise self._faults.unsent(error) from None
        answer = model._answer(request, profile, self._origin, self._faults)  # noqa: SLF001
        return _Reader(events, answer, self._faults, self._deadline)

    def second_try(self, profile: Profile, refused: ModelError) -> Profile | None:
        """How to ask once more; None where the conversation is not to blame, or stays the same."""
        if refused.status not in (400, 422) or type(refused) is not ModelError:
            return None
        second = profile_after_refusal(profile, str(refused))
        if second is None:
            return None
        model, request = self._model, self._request
        before, after = (model._body(request, each, self._origin) for each in (profile, second))  # noqa: SLF001
        return second if before != after else None

    async def _post(self, body: dict[str, Any], profile: Profile) -> "Events":
        # A token changes, and comes with each request.
        key = "token" if self._model.token is not None else self._key
        client = await client_for(self._base_url, key, self._model.http_client)
        settings, seconds = self._request.settings, self._faults.timeout
        query = {**(self._model.query or {}), **(settings.get("extra_query") or {})}
        # cast_to=object yields the JSON as it is; building the SDK's typed chunks costs several
        # times more than everything else done for a token.
        return await client.post(
            self._model.path,
            cast_to=object,
            body=body,
            options={
                "timeout": openai.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
                "security": {"bearer_auth": True},
                "headers": self._headers(profile),
                "params": query,
            },
            stream=True,
            stream_cls=Events,
        )

    def _headers(self, profile: Profile) -> dict[str, Any]:
        model, made = self._model, dict[str, Any]()
        if model.token is not None:
            made["Authorization"] = f"Bearer {self._key}"
        elif profile.key_header is not None:
            made[profile.key_header] = self._key
        given = {**(model.headers or {}), **(self._request.settings.get("extra_headers") or {})}
        return made | {
            name: openai.Omit() if value is None else value for name, value in given.items()
        }


class _Reader:
    """Reads one answer's events until the stream ends, the time is over or something fails."""

    def __init__(self, events: Events, answer: Answer, faults: Faults, deadline: float) -> None:
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
            if not self._began and not self._is_stream():
                self._began = True
                return await self._whole()
            async with asyncio.timeout_at(self._until()):
                event = await anext(self._events, _END)
            if event is not _END:
                self._began = True
                return self._heard(event)
        except FAILURES as error:
            # What is lost after the provider's word that the answer is complete is usage at most.
            if not self._answer.is_complete:
                raise self._faults.of(error) from None
        return self._end()

    async def close(self) -> None:
        await self._events.close()

    def _heard(self, event: Any) -> Iterable[ModelEvent]:
        if event is None:
            return ()
        # Some send errors beside everything else.
        if error := event.get("error"):
            if self._answer.is_complete:
                return self._end()
            raise self._faults.reported(error, event)
        return self._answer.read(event)

    def _until(self) -> float:
        if not self._answer.is_complete:
            return self._deadline
        seconds = _PIECE_SECONDS if self._answer.may_go_on else TAIL_SECONDS
        return min(self._deadline, asyncio.get_running_loop().time() + seconds)

    def _is_stream(self) -> bool:
        # Some servers forget the header; a page or a plain object never is one.
        return not self._content_type().startswith(("application/json", "text/html"))

    def _content_type(self) -> str:
        headers: Mapping[str, str] = self._events.response.headers
        return headers.get("content-type", "")

    async def _whole(self) -> Iterable[ModelEvent]:
        """What a reply says that is no stream: all of the answer, or what is wrong."""
        async with asyncio.timeout_at(self._deadline):
            text = (await self._events.response.aread()).decode(errors="replace")
        said = object_in(text)
        pieces = () if said.get("error") else self._answer.read_whole(said)
        if self._answer.is_complete:
            return pieces
        raise self._faults.not_a_stream(self._content_type(), text[:_MOST_REPLY])

    def _end(self) -> Iterable[ModelEvent]:
        self._ended = True
        if self._answer.finished(said_done=self._events.said_done):
            return (self._answer.end(),)
        if self._began or self._content_type().startswith("text/event-stream"):
            raise self._faults.cut_off()
        raise self._faults.not_a_stream(self._content_type())


def _seconds(request: ModelRequest, most: float) -> float:
    given = request.settings.get("timeout")
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return min(most, float(given)) if is_number and given is not None and given > 0 else most
