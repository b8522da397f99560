"""The app of most tests here: the shared agents and the careful one."""

from tests.durability.careful import make_careful
from tests.support.agents import SHARED
from tests.support.deployment import make_app, serve

app = make_app("tests.durability.careful_app")
evented = serve(app, *SHARED, make_careful())
