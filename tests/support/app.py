"""The Celery app of most tests: callers and real workers import it, as users' do."""

from tests.support.agents import SHARED
from tests.support.deployment import make_app, serve

app = make_app("tests.support.app")
evented = serve(app, *SHARED)
