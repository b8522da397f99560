"""The next version of the app: the careful agent says something else."""

from tests.durability.careful import make_careful
from tests.support.agents import SHARED
from tests.support.deployment import make_app, serve

app = make_app("tests.durability.careful_app_2")
evented = serve(app, *SHARED, make_careful(" of version 2"))
