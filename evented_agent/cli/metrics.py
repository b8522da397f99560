"""``metrics``: numbers to watch, printed once or served for Prometheus on this machine."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.output import to_json
from evented_agent.client.exposition import CONTENT_TYPE
from evented_agent.client.metrics import Metrics, combined
from evented_agent.client.runs import Runs
from evented_agent.errors import EventedAgentError

_HOST = "127.0.0.1"
#: What a page of another host, whose name leads here, does not send.
_NAMES = (_HOST, "localhost")


@click.command("metrics")
@click.option("--serve", type=click.IntRange(0, 65535), metavar="PORT", help="Serve /metrics.")
@shared
def metrics(choices: Choices, serve: int | None) -> None:
    """Print what is going on, and what was done, in the text format of Prometheus.

    With --serve it is served at http://127.0.0.1:PORT/metrics until Ctrl-C; port 0 is any.
    """
    if serve is not None:
        _serve(choices, serve)
        return
    found = _read(choices)
    if choices.output.is_json:
        choices.output.record(to_json(found))
    else:
        choices.output.text(found.prometheus())


def _read(choices: Choices) -> Metrics:
    return combined([Runs.metrics(place) for place in choices.places.all])


def _serve(choices: Choices, port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request."""

        timeout = 10.0

        def do_GET(self) -> None:
            host = self.headers.get("host", "").rpartition(":")[0] or self.headers.get("host", "")
            if self.path.partition("?")[0] != "/metrics" or host not in _NAMES:
                self._answer(404, "Look at /metrics.\n")
                return
            try:
                self._answer(200, _read(choices).prometheus())
            except EventedAgentError as error:
                choices.output.warn(str(error))
                self._answer(503, "Redis is away.\n")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("content-type", CONTENT_TYPE)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A scrape every few seconds is no news."""

    # Asked once here: what is wrong is said at once.
    _read(choices)
    try:
        server = ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise click.ClickException(f"Port {port} cannot be used: {error.strerror}.") from None
    with server:
        choices.output.note(f"http://{_HOST}:{server.server_port}/metrics")
        server.serve_forever()
