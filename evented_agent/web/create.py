"""`create_app`: what a web application of runs is made with, and what it refuses to start with."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from evented_agent.client.durable_agent import DurableAgent
from evented_agent.client.runs import Runs
from evented_agent.errors import ConfigurationError
from evented_agent.state.run_info import RunInfo
from evented_agent.web.asgi import WebApp
from evented_agent.web.failures import HttpFailure
from evented_agent.web.limits import Limits, OpenStreams
from evented_agent.web.origins import Origins, is_loopback
from evented_agent.web.principal import ACTION_NAMES, Action, Authorize, Principal
from evented_agent.web.routes.start import CLIENT_OPTIONS, SERVICE_OPTIONS
from evented_agent.web.site import Site
from evented_agent.web.tokens import StreamTokens
from evented_agent.web.wsgi import WsgiApp


def create_app(
    source: Runs | DurableAgent[Any],
    *,
    authorize: Authorize | None = None,
    allowed_hosts: Sequence[str] | None = None,
    allowed_origins: Sequence[str] = (),
    token_keys: Sequence[str | bytes] = (),
    client_options: Sequence[str] = (),
    limits: Limits | None = None,
    flower_url: str | None = None,
    dev: bool = False,
) -> WebApp:
    """Make an ASGI application that serves runs: mount it in Starlette, FastAPI or Django.

    Args:
        source: ``Runs.of(app)`` for all agents of a Celery app, or one evented agent for that one
            alone. A plain ``Runs(url)`` serves reading and deciding; nothing is started there.
        authorize: Says who asks, for each request: see `Principal`. None of it is allowed without.
        allowed_hosts: The names in ``Host`` that are served; ``*.shop.example`` for all below.
            None for any.
        allowed_origins: Origins whose pages may use it from a browser, with cookies:
            ``https://shop.example``. By default only the pages of its own.
        token_keys: Secrets that stream tokens are signed with, the newest first, the same in each
            process. Without, there are no stream tokens.
        client_options: Names of `StreamOptions` that every client may choose, beside when_busy,
            until_idle, deadline and metadata. A principal with all_resources may choose any.
        limits: What a request and a principal may take.
        flower_url: Where Flower is, ``https://flower.example``: the console links tasks to it.
        dev: Serve this machine alone, without `authorize`; everything is allowed.

    Raises `ConfigurationError` without *authorize*, unless *dev*, and for keys that are too short.

    Example:
        >>> web = FastAPI()
        >>> web.mount("/agents", create_app(Runs.of(app), authorize=authorize))
    """
    given = _site(
        source,
        authorize,
        Origins(allowed_hosts, tuple(allowed_origins)),
        token_keys,
        client_options,
        limits,
        flower_url,
        is_dev=dev,
    )
    return WebApp(given)


def create_wsgi_app(
    source: Runs | DurableAgent[Any],
    *,
    authorize: Authorize | None = None,
    allowed_hosts: Sequence[str] | None = None,
    allowed_origins: Sequence[str] = (),
    token_keys: Sequence[str | bytes] = (),
    client_options: Sequence[str] = (),
    limits: Limits | None = None,
    flower_url: str | None = None,
    dev: bool = False,
) -> WsgiApp:
    """`create_app` for WSGI servers: Flask, and Django under WSGI.

    Each open stream holds a thread of the server for as long as it lasts; serve many readers with
    ASGI.
    """
    given = _site(
        source,
        authorize,
        Origins(allowed_hosts, tuple(allowed_origins)),
        token_keys,
        client_options,
        limits,
        flower_url,
        is_dev=dev,
    )
    return WsgiApp(given)


def _site(
    source: Runs | DurableAgent[Any],
    authorize: Authorize | None,
    origins: Origins,
    token_keys: Sequence[str | bytes],
    client_options: Sequence[str],
    limits: Limits | None,
    flower_url: str | None,
    *,
    is_dev: bool,
) -> Site:
    if authorize is None and not is_dev:
        raise ConfigurationError(
            "create_app needs authorize=…, which says who asks: everything is refused without. To "
            "try it on this machine alone, pass dev=True."
        )
    if unknown := sorted(set(client_options) - {*CLIENT_OPTIONS, *SERVICE_OPTIONS}):
        raise ConfigurationError(
            f"client_options={unknown}: use some of {', '.join(SERVICE_OPTIONS)}."
        )
    if flower_url is not None and not flower_url.startswith(("http://", "https://")):
        raise ConfigurationError(f"flower_url={flower_url!r}: use an address of http or https.")
    limits = limits or Limits()
    runs, agent = (
        (source.client, source.agent.id) if isinstance(source, DurableAgent) else (source, None)
    )
    return Site(
        runs=runs,
        agent=agent,
        authorize=authorize or _this_machine,
        origins=origins,
        tokens=StreamTokens(token_keys),
        limits=limits,
        streams=OpenStreams(limits.streams),
        options=(*CLIENT_OPTIONS, *client_options),
        flower_url=flower_url,
    )


async def _this_machine(request: Request, _: Action, __: RunInfo | None) -> Principal:
    if not is_loopback(request):
        raise HttpFailure(403, "not_this_machine", "dev=True serves this machine alone.")
    return Principal("dev", all_resources=True, scopes=frozenset(ACTION_NAMES))
