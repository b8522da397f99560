"""What a model at a host takes and wants, and which of them are known.  Does no I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

#: How an answer of an agent's output type is asked for.
OutputMode = Literal["schema", "tool", "prompt"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model at a host takes and wants; the defaults are for servers that nobody knows.

    `profile_of` says what is known of a model; ``dataclasses.replace`` changes a part of that.

    Attributes:
        strict: What says ``strict``: "never", "schemas" of typed answers, or "always", tools too.
        stream_usage: Whether ``stream_options`` asks for the count of tokens.
        tool_choices: Which of "auto", "none", "required" and "tool" (a tool by its name) it takes;
            what it does not take becomes the next that is weaker, down to nothing.
        required: Its word for the tool choice "required".
        parallel_calls: Whether the setting ``parallel_tool_calls`` is sent.
        without_keywords: Keywords that are taken out of schemas.
        inline_refs: Whether ``$ref`` is replaced by what it refers to.
        limit: The name of the setting ``max_output_tokens``.
        system_role: What instructions are called: "system", "developer" or "user".
        system_first: Whether system messages stand at the beginning only; later ones become what
            the user said.
        alternates: Whether user and assistant have to take turns.
        call_ids: "own" returns its own ids of calls and makes plain ones for those of others;
            "nine" makes all of them nine letters and digits; "any" takes them as they are.
        returns_reasoning: Whether it gets back what it said beside its answers.
        needs_reasoning: The field that each of its calls must have, with a space where the calls
            come from another model; None for none.
        needs_signature: Whether calls of other models are marked as such, as Gemini wants it.
        encrypted_reasoning: Whether Responses are asked for encrypted reasoning.
        null_content: Whether an answer of calls alone has the content null; else it is empty.
        images: Whether it can look at images; else it is told that there was one.
        result_images: Whether results of tools may hold images; else they follow as a user's.
        output: How a typed answer is asked for: by native "schema", by "tool", or by "prompt".
        output_beside_tools: The same, where there are tools.
        json_object: Whether it has the response format ``json_object``, which helps "prompt".
        cached_tokens: Its own name for the count of tokens that it had cached, beside the usual.
        refuses: Settings that are left out.
        key_header: The header for an API key, beside ``Authorization``; None for none.
    """

    strict: Literal["never", "schemas", "always"] = "schemas"
    stream_usage: bool = True
    tool_choices: frozenset[str] = frozenset({"auto", "none", "required", "tool"})
    required: str = "required"
    parallel_calls: bool = True
    without_keywords: frozenset[str] = frozenset()
    inline_refs: bool = False
    limit: str = "max_tokens"
    system_role: Literal["system", "developer", "user"] = "system"
    system_first: bool = True
    alternates: bool = True
    call_ids: Literal["own", "nine", "any"] = "own"
    returns_reasoning: bool = True
    needs_reasoning: str | None = None
    needs_signature: bool = False
    encrypted_reasoning: bool = False
    null_content: bool = True
    images: bool = True
    result_images: bool = False
    output: OutputMode = "schema"
    output_beside_tools: OutputMode = "tool"
    json_object: bool = False
    cached_tokens: str | None = None
    refuses: frozenset[str] = frozenset()
    key_header: str | None = None


_FREE: Mapping[str, Any] = {
    "system_first": False,
    "alternates": False,
    "call_ids": "any",
    "output_beside_tools": "schema",
}
_OPENAI = Profile(
    **_FREE,
    strict="always",
    limit="max_completion_tokens",
    encrypted_reasoning=True,
    result_images=True,
)
_AUTO = frozenset({"auto", "none"})
_GEMINI_REFUSES = frozenset({"$schema", "$id", "additionalProperties", "default", "const"})

#: Known hosts: the end of a host's name, and its profile.
_HOSTS: tuple[tuple[str, Profile], ...] = (
    ("api.openai.com", _OPENAI),
    (".api.openai.com", _OPENAI),
    (".openai.azure.com", replace(_OPENAI, encrypted_reasoning=False, key_header="api-key")),
    (".azure.com", replace(_OPENAI, encrypted_reasoning=False, key_header="api-key")),
    ("api.x.ai", replace(_OPENAI, strict="schemas", limit="max_tokens")),
    (
        "openrouter.ai",
        Profile(**{**_FREE, "output_beside_tools": "tool"}, encrypted_reasoning=True),
    ),
    (
        "api.mistral.ai",
        Profile(stream_usage=False, required="any", call_ids="nine", null_content=False),
    ),
    (
        "api.deepseek.com",
        Profile(
            **{**_FREE, "output_beside_tools": "prompt"},
            needs_reasoning="reasoning_content",
            output="prompt",
            json_object=True,
        ),
    ),
    (
        ".moonshot.ai",
        Profile(
            needs_reasoning="reasoning_content",
            output="prompt",
            output_beside_tools="prompt",
            json_object=True,
            cached_tokens="cached_tokens",
        ),
    ),
    (
        ".z.ai",
        Profile(
            tool_choices=_AUTO, output="prompt", output_beside_tools="prompt", json_object=True
        ),
    ),
    (
        ".googleapis.com",
        Profile(
            without_keywords=_GEMINI_REFUSES,
            inline_refs=True,
            call_ids="any",
            needs_signature=True,
        ),
    ),
    ("api.groq.com", Profile(**{**_FREE, "output_beside_tools": "tool"}, json_object=True)),
    (".perplexity.ai", Profile(tool_choices=frozenset())),
)
_SAME_HOSTS: Mapping[str, str] = {
    ".moonshot.cn": ".moonshot.ai",
    ".bigmodel.cn": ".z.ai",
    ".openai.org": "api.openai.com",
}

#: Models that answer 400 to a request for encrypted reasoning, having none.
_UNREASONING = re.compile(r"(ft:)?(gpt-3|gpt-4|gpt-5-chat|chatgpt)")
_REASONING = re.compile(r"(.*/)?(ft:)?(gpt-[5-9](?!-chat)|o[1-9]|codex)")
_MISTRAL = re.compile(
    r"(.*[/:])?(open-)?(mi[sx]tral|ministral|magistral|devstral|codestral|pixtral)"
)
_THINKING = re.compile(r"(.*/)?(deepseek-(reasoner|v4)|kimi-.*thinking|kimi-k2\.[5-9])")
_OLD_GROQ = re.compile(r"(llama|gemma|qwen|deepseek|allam|mixtral)")


def profile_of(model: str, host: str = "") -> Profile:
    """What is known of *model* at *host* (a name, perhaps with a port); else the defaults."""
    name = host.partition(":")[0]
    known = _known(name)
    profile = known or Profile()
    if known is None and _MISTRAL.match(model):
        # Their templates insist on it, whoever serves them.
        profile = replace(profile, call_ids="nine")
    if _THINKING.match(model):
        profile = replace(profile, tool_choices=profile.tool_choices & _AUTO)
    if name == "api.groq.com" and _OLD_GROQ.match(model):
        profile = replace(profile, output="prompt")
    return replace(profile, encrypted_reasoning=_encrypts(model, profile))


def _known(host: str) -> Profile | None:
    for end, same in _SAME_HOSTS.items():
        if host.endswith(end):
            host = same
    for end, profile in _HOSTS:
        if host == end or (host.endswith(end) if end.startswith(".") else False):
            return profile
    return None


def _encrypts(model: str, profile: Profile) -> bool:
    if profile.encrypted_reasoning:
        return not _UNREASONING.match(model)
    # A deployment or a proxy: its name is all that is known.
    return bool(_REASONING.match(model))


#: Words of a provider's refusal that are about the conversation, not about the rest of a request.
_ABOUT_HISTORY = re.compile(
    r"(?i)tool_calls?\b|tool[ _]call|tool[ _]result|tool_use|function[ _]call|call_id"
    r"|\broles?\b|alternat|reasoning|thinking|thought|signature|messages?[\[. ]|\binput\[\d"
    r"|conversation"
)
#: How providers name the message: ``messages[3]``, ``messages.3``, ``message at index 3``.
_PLACE = re.compile(r"(?i)\b(messages?|input|contents?)(?:\[| ?\.|[a-z ]* index )\s?(\d+)")


def is_about_history(words: str) -> bool:
    """Whether a provider's refusal is about the conversation."""
    return _ABOUT_HISTORY.search(words) is not None


def place_in_history(words: str) -> tuple[str, int] | None:
    """The list and the index in it that a provider's refusal names; None where it names none."""
    found = _PLACE.search(words)
    return (found[1], int(found[2])) if found else None


#: What the library adds of its own, and what to leave out where a server refuses it by name.
_REFUSED: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...] = (
    (re.compile(r"stream_options"), {"stream_usage": False}),
    (re.compile(r"\bstrict\b"), {"strict": "never"}),
    (re.compile(r"(?i)\binclude\b|encrypted.{0,20} not supported"), {"encrypted_reasoning": False}),
)


def profile_after_refusal(profile: Profile, words: str) -> Profile | None:
    """How to ask once more after a 400 with these *words*; None where nothing of ours is to blame.

    What a server refuses by name is left out; a conversation is written in the strictest form.
    """
    for named, without in _REFUSED:
        if named.search(words):
            return replace(profile, **without)
    if not is_about_history(words):
        return None
    if "reasoning_content" in words and profile.needs_reasoning is None and "miss" in words.lower():
        return replace(profile, needs_reasoning="reasoning_content")
    if "signature" in words and not profile.needs_signature and "miss" in words.lower():
        return replace(profile, needs_signature=True)
    strict = replace(
        profile,
        system_first=True,
        alternates=True,
        call_ids="nine",
        returns_reasoning=False,
        null_content=False,
    )
    return None if strict == profile else strict
