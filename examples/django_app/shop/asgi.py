"""Under ASGI: the HTTP API of runs below /agents, and Django for all else."""

import os

from django.core.asgi import get_asgi_application
from starlette.types import Receive, Scope, Send

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django = get_asgi_application()

# These need Django's apps, which are ready from here on.
from django.conf import settings  # noqa: E402
from orders.agents import evented  # noqa: E402

from evented_agent.web import create_app  # noqa: E402
from shop.access import authorize  # noqa: E402

agents = create_app(evented, authorize=authorize, allowed_hosts=settings.ALLOWED_HOSTS)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    # Django serves no lifespan.
    if scope["type"] == "lifespan" or scope["path"].startswith("/agents/"):
        await agents({**scope, "root_path": "/agents"}, receive, send)
    else:
        await django(scope, receive, send)
