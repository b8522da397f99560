"""What the demo's workers load: ``celery -A evented_agent.cli.demo.app worker``.

Two environment variables of the demo say which broker and which model to use.
"""

import os

from evented_agent import create_evented_agent
from evented_agent.cli.demo.agent import make_librarian
from evented_agent.cli.demo.processes import BROKER_VARIABLE, MODEL_VARIABLE, end_with_parent
from evented_agent.engines.celery.simple_app import simple_app

app = simple_app("evented_agent.cli.demo", os.environ[BROKER_VARIABLE])
librarian = create_evented_agent(make_librarian(os.environ[MODEL_VARIABLE]), app=app)

end_with_parent()
