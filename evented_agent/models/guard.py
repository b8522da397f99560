"""Whether real models may be called in this process; tests may forbid it."""

from evented_agent.errors import ModelError

#: Who forbids it; empty while calls are allowed.
blocked: set[str] = set()


def check_allowed(model: str) -> None:
    """Raise `ModelError` where real models are forbidden."""
    if blocked:
        raise ModelError(
            f"{model} was not called: {', '.join(sorted(blocked))} forbids real models here. Use "
            "agent.override(model=ScriptedModel([...]))."
        )
