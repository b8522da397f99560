"""Under WSGI: the HTTP API of runs below /agents, and Django for all else."""

import os
from collections.abc import Iterable
from typing import Any
from wsgiref.util import shift_path_info

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django = get_wsgi_application()

# These need Django's apps, which are ready from here on.
from django.conf import settings  # noqa: E402
from orders.agents import evented  # noqa: E402

from evented_agent.web import create_wsgi_app  # noqa: E402
from shop.access import authorize  # noqa: E402

agents = create_wsgi_app(evented, authorize=authorize, allowed_hosts=settings.ALLOWED_HOSTS)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"].startswith("/agents/"):
        shift_path_info(environ)
        return agents(environ, start_response)
    served: Iterable[bytes] = django(environ, start_response)
    return served
