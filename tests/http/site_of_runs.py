"""What web servers of the tests load: the runs of ``TEST_REDIS_URL``, to read and to decide."""

import os

from evented_agent import Runs, Settings
from evented_agent.web import create_app, create_wsgi_app
from tests.http.conftest import authorize

runs = Runs(os.environ["TEST_REDIS_URL"], settings=Settings(prefix="http.talker"))
asgi = create_app(runs, authorize=authorize)
wsgi = create_wsgi_app(runs, authorize=authorize)
