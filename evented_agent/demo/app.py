"""What the demo's workers load: ``celery -A evented_agent.demo.app worker``.

The demo tells them in two environment variables which broker and which model to use.
"""

import os

from evented_agent import create_evented_agent
from evented_agent.celery.simple import simple_app
from evented_agent.demo.agent import make_librarian
from evented_agent.demo.processes import BROKER_VARIABLE, MODEL_VARIABLE, end_with_parent

app = simple_app("evented_agent.demo", os.environ[BROKER_VARIABLE])
librarian = create_evented_agent(make_librarian(os.environ[MODEL_VARIABLE]), app=app)

end_with_parent()
