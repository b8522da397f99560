"""The routes of OpenAI's clients: ``base_url`` is where this is mounted, with ``/openai/v1``."""

from evented_agent.web.faces.chat_completions.routes import post_completion
from evented_agent.web.faces.face import Face
from evented_agent.web.faces.openai.errors import openai_failure
from evented_agent.web.faces.openai.models import get_model, get_models
from evented_agent.web.faces.responses.conversations import (
    delete_conversation_of,
    get_conversation,
    post_conversation,
)
from evented_agent.web.faces.responses.look import (
    cancel_response,
    delete_response,
    get_input_items,
    get_response,
)
from evented_agent.web.faces.responses.start import post_response
from evented_agent.web.route import Route

_PREFIX = "/openai/v1"
_RESPONSE = f"{_PREFIX}/responses/{{id}}"

OPENAI = Face(
    prefix=_PREFIX,
    routes=(
        Route("POST", f"{_PREFIX}/responses", post_response),
        Route("GET", _RESPONSE, get_response),
        Route("DELETE", _RESPONSE, delete_response),
        Route("POST", f"{_RESPONSE}/cancel", cancel_response),
        Route("GET", f"{_RESPONSE}/input_items", get_input_items),
        Route("POST", f"{_PREFIX}/conversations", post_conversation),
        Route("GET", f"{_PREFIX}/conversations/{{id}}", get_conversation),
        Route("DELETE", f"{_PREFIX}/conversations/{{id}}", delete_conversation_of),
        Route("POST", f"{_PREFIX}/chat/completions", post_completion),
        Route("GET", f"{_PREFIX}/models", get_models),
        Route("GET", f"{_PREFIX}/models/{{id}}", get_model),
    ),
    failure=openai_failure,
)
