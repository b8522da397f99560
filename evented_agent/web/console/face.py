"""The console's routes in one table; they are pages, so they are not in the OpenAPI document."""

from collections.abc import Sequence
from dataclasses import replace

from evented_agent.web.console.change import (
    post_console_abort,
    post_console_bulk,
    post_console_cancel,
    post_console_delete,
    post_console_retry,
)
from evented_agent.web.console.conversations import (
    get_console_thread,
    get_console_thread_cost,
    get_console_threads,
    post_console_forget,
    post_console_title,
)
from evented_agent.web.console.fleet import get_console_fleet
from evented_agent.web.console.inbox import (
    get_console_inbox,
    get_console_inbox_count,
    post_console_decision,
)
from evented_agent.web.console.overview import get_console_overview
from evented_agent.web.console.playground import get_console_playground, post_console_playground
from evented_agent.web.console.run_detail import (
    get_console_run,
    get_console_run_background,
    get_console_run_chunks,
    get_console_run_steps,
)
from evented_agent.web.console.run_list import get_console_runs
from evented_agent.web.console.say import (
    post_console_run_message,
    post_console_thread_message,
)
from evented_agent.web.console.static_files import get_console_static
from evented_agent.web.console.view import PREFIX, failure_page, with_pages
from evented_agent.web.faces.face import Face
from evented_agent.web.route import Route

_RUN = f"{PREFIX}/runs/{{run_id}}"
_THREAD = f"{PREFIX}/threads/{{thread_id}}"
_ROUTES: Sequence[Route] = (
    Route("GET", PREFIX, get_console_overview),
    Route("GET", f"{PREFIX}/runs", get_console_runs),
    Route("POST", f"{PREFIX}/bulk", post_console_bulk),
    Route("GET", _RUN, get_console_run),
    Route("GET", f"{_RUN}/steps", get_console_run_steps),
    Route("GET", f"{_RUN}/chunks", get_console_run_chunks),
    Route("GET", f"{_RUN}/background", get_console_run_background),
    Route("POST", f"{_RUN}/decide", post_console_decision),
    Route("POST", f"{_RUN}/messages", post_console_run_message),
    Route("POST", f"{_RUN}/abort", post_console_abort),
    Route("POST", f"{_RUN}/retry", post_console_retry),
    Route("POST", f"{_RUN}/delete", post_console_delete),
    Route("POST", f"{_RUN}/background/{{call_id}}/cancel", post_console_cancel),
    Route("GET", f"{PREFIX}/inbox", get_console_inbox),
    Route("GET", f"{PREFIX}/inbox/count", get_console_inbox_count),
    Route("GET", f"{PREFIX}/threads", get_console_threads),
    Route("GET", _THREAD, get_console_thread),
    Route("GET", f"{_THREAD}/cost", get_console_thread_cost),
    Route("POST", f"{_THREAD}/messages", post_console_thread_message),
    Route("POST", f"{_THREAD}/title", post_console_title),
    Route("POST", f"{_THREAD}/forget", post_console_forget),
    Route("GET", f"{PREFIX}/fleet", get_console_fleet),
    Route("GET", f"{PREFIX}/playground", get_console_playground),
    Route("POST", f"{PREFIX}/playground", post_console_playground),
    Route("GET", f"{PREFIX}/static/{{version}}/{{name}}", get_console_static, is_open=True),
)

#: Pages for people who operate runs.
CONSOLE = Face(
    PREFIX,
    [replace(route, handler=with_pages(route.handler)) for route in _ROUTES],
    failure_page,
)
