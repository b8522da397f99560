"""From an agent's ``model=`` to a `Model`: the providers by their names."""

from collections.abc import Callable, Mapping

from evented_agent.errors import DeclarationError
from evented_agent.models.openai.chat import OpenAIChat
from evented_agent.models.openai.responses import OpenAIResponses
from evented_agent.models.openai.servers import SERVERS
from evented_agent.models.protocol import Model

_PROVIDERS: Mapping[str, Callable[[str], Model]] = {
    OpenAIResponses.provider: OpenAIResponses,
    OpenAIChat.provider: OpenAIChat,
}


def resolve(ref: str | Model) -> Model:
    """Return the model that *ref* names, or *ref* itself when it is a model already.

    Raises `DeclarationError` for anything else; connects to nothing.
    """
    given: object = ref
    if isinstance(given, str):
        provider, _, model = given.partition("/")
        if model and provider in _PROVIDERS:
            return _PROVIDERS[provider](model)
        if model and provider in SERVERS:
            server = SERVERS[provider]
            return OpenAIChat(model, api_key_env=server.key_env, server=server)
    # A class has the attributes of its instances, so it would pass for a model too.
    elif isinstance(given, Model) and not isinstance(given, type):
        return given
    raise DeclarationError(
        f"model={ref!r} names no model. Pass 'openai/<model>' for the Responses API, "
        "'openai-chat/<model>' for Chat Completions (any compatible server, see OPENAI_BASE_URL), "
        f"the name of a server that is known ({', '.join(sorted(SERVERS))}) before the slash, "
        "or an object with `name` and `stream`, as the Model protocol has them."
    )
