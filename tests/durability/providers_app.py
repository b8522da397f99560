"""An agent whose models are two servers of the tests; the tools see and add."""

from evented_agent import Agent, tool
from evented_agent.models import OpenAIChat
from evented_agent.models.openai.servers import Server
from tests.support.deployment import make_app, mark, serve

PNG = b"\x89PNG\r\n\x1a\n"


@tool
def look(place: str) -> bytes:
    """Look at a place."""
    mark("look", place)
    return PNG


@tool
def add(a: int, b: int) -> int:
    """Add."""
    mark("add", f"{a}+{b}")
    return a + b


def model(name: str, variable: str) -> OpenAIChat:
    server = Server("", variable, "TEST_MODEL_KEY")
    return OpenAIChat(name, api_key_env="TEST_MODEL_KEY", server=server)


traveller = Agent(
    id="traveller",
    instructions="Be brief.",
    model=[model("thinker", "TEST_THINKER_URL"), model("strict", "TEST_STRICT_URL")],
    tools=[look, add],
)
app = make_app("tests.durability.providers_app")
evented = serve(app, traveller)
