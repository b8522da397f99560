"""Servers that have a name of their own in ``model="<name>/<model>"``.  Does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """Where a model is, and how it is called.

    Attributes:
        url: Its base URL; empty where each customer has one.
        url_env: The environment variable that holds another one.
        key_env: The environment variable that holds the API key.
        name: What stands before the slash; None for the API's own name.
        path: What is added to a URL that has no path.
        needs_key: Whether it takes no call without a key.
    """

    url: str = "https://api.openai.com/v1"
    url_env: str = "OPENAI_BASE_URL"
    key_env: str = "OPENAI_API_KEY"
    name: str | None = None
    path: str = ""
    needs_key: bool = True


def _named(name: str, url: str, *, path: str = "", needs_key: bool = True) -> Server:
    prefix = name.upper()
    return Server(
        url,
        f"{prefix}_BASE_URL",
        f"{prefix}_API_KEY",
        name=name,
        path=path,
        needs_key=needs_key,
    )


#: All of them speak Chat Completions.
SERVERS: Mapping[str, Server] = {
    server.name or "": server
    for server in (
        Server(
            "", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", name="azure", path="/openai/v1"
        ),
        _named("cerebras", "https://api.cerebras.ai/v1"),
        _named("deepseek", "https://api.deepseek.com/v1"),
        _named("fireworks", "https://api.fireworks.ai/inference/v1"),
        _named("gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
        _named("groq", "https://api.groq.com/openai/v1"),
        _named("mistral", "https://api.mistral.ai/v1"),
        _named("moonshot", "https://api.moonshot.ai/v1"),
        _named("ollama", "http://localhost:11434/v1", path="/v1", needs_key=False),
        _named("openrouter", "https://openrouter.ai/api/v1"),
        _named("perplexity", "https://api.perplexity.ai"),
        _named("together", "https://api.together.xyz/v1"),
        _named("vllm", "http://localhost:8000/v1", path="/v1", needs_key=False),
        _named("xai", "https://api.x.ai/v1"),
        _named("zai", "https://api.z.ai/api/paas/v4"),
    )
}
