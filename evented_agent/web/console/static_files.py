"""Style, scripts and the font of the console, from the package, under names that change with them.

``vendor`` has what others made, with the name and the version of its npm package and its licence.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.failures import HttpFailure
from evented_agent.web.site import Site, WebSteps

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
#: They change with the version, and the address with them.
_FOREVER = "public, max-age=31536000, immutable"


def get_console_static(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """A file of the console's pages; nobody has to sign in."""
    yield from ()
    found = _files().get(exchange.path["name"])
    if found is None:
        raise HttpFailure(404, "not_found", "There is no such file.")
    # While versions change, a page of one may ask a process of the other.
    is_same = exchange.path["version"] == _version()
    headers = {
        "content-type": _TYPES[Path(exchange.path["name"]).suffix],
        "cache-control": _FOREVER if is_same else "no-cache",
        # An SVG that is opened by itself is a page.
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    }
    return PlainReply(200, found, headers)


def static_address(root: str, name: str) -> str:
    """Where a file is served from, below where the application is mounted."""
    assert name in _files(), name
    return f"{root}/console/static/{_version()}/{name}"


@cache
def _files() -> Mapping[str, bytes]:
    found = (path for path in sorted(_FOLDER.rglob("*")) if path.suffix in _TYPES)
    return {path.name: path.read_bytes() for path in found}


@cache
def _version() -> str:
    """Stands for all files: modules name each other without a version, in the same folder."""
    whole = hashlib.sha256()
    for name, content in _files().items():
        whole.update(name.encode() + b"\0" + content)
    return whole.hexdigest()[:12]
