"""What users may import: six modules, each name documented, each field explained."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar, is_typeddict

import pytest
from pydantic import BaseModel

import evented_agent
from evented_agent import chunks, errors, models, testing, web

MODULES: tuple[ModuleType, ...] = (evented_agent, models, chunks, testing, errors, web)

#: What the root exports; a name that is added here is a promise.
ROOT_NAMES = [
    "AccessDenied",
    "Agent",
    "AgentOptions",
    "AnyChunk",
    "ApprovalRequest",
    "AsyncRunStream",
    "AsyncThreadStream",
    "AttemptList",
    "Background",
    "BackgroundTask",
    "BlockingCall",
    "CallCost",
    "CallDecision",
    "Chunk",
    "ConfigurationError",
    "Cost",
    "DeclarationError",
    "DurableAgent",
    "ErrorInfo",
    "EventedAgent",
    "EventedAgentError",
    "HttpRuns",
    "InProcessAgent",
    "InboxFull",
    "InvalidCursor",
    "InvalidDecision",
    "LedgerUnavailable",
    "LimitReached",
    "LiveWorker",
    "MCPServer",
    "Memory",
    "Metrics",
    "MetricsSeries",
    "Model",
    "ModelError",
    "NextStep",
    "NotFailed",
    "NotSuspended",
    "Pending",
    "Receipt",
    "RunAborted",
    "RunConflict",
    "RunDeleted",
    "RunEnded",
    "RunError",
    "RunEvent",
    "RunExpired",
    "RunFailed",
    "RunInfo",
    "RunNotFound",
    "RunPage",
    "RunResult",
    "RunStream",
    "Runs",
    "RunsCost",
    "Settings",
    "Starting",
    "StepChoice",
    "StepInfo",
    "StreamOptions",
    "SuspensionExpired",
    "TaskAttempt",
    "TextUpdate",
    "Thread",
    "ThreadBusy",
    "ThreadInfo",
    "ThreadNotFound",
    "ThreadPage",
    "ThreadStream",
    "ThreadTurn",
    "Tool",
    "ToolContext",
    "ToolOptions",
    "ToolPolicy",
    "TooLarge",
    "UnknownAgent",
    "Usage",
    "Verdict",
    "Window",
    "create_durable_agent",
    "create_evented_agent",
    "embedded_broker",
    "tool",
]


#: Aliases of types and constants have a comment instead of a docstring.
EXPORTED = [
    (f"{module.__name__}.{name}", thing)
    for module in MODULES
    for name in module.__all__
    if isinstance(thing := getattr(module, name), type) or inspect.isfunction(thing)
]
CLASSES = sorted(
    {name: each for name, each in EXPORTED if isinstance(each, type)}.items(), key=lambda e: e[0]
)


def fields_of(cls: type) -> Iterator[str]:
    """The public fields that a class itself declares."""
    if dataclasses.is_dataclass(cls) or is_typeddict(cls) or issubclass(cls, BaseModel):
        own = inspect.get_annotations(cls)
    else:
        # A NamedTuple has its fields in its base.
        own = dict.fromkeys(getattr(cls, "_fields", ()))
    for name, annotation in own.items():
        origin: object = typing.get_origin(annotation)
        is_shared = origin is ClassVar or name == "model_config"
        if not name.startswith("_") and not is_shared:
            yield name


def test_the_root_exports_what_it_promises() -> None:
    assert sorted(evented_agent.__all__) == sorted(ROOT_NAMES)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_public_module_says_what_it_exports_and_has_it(module: ModuleType) -> None:
    assert module.__doc__
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize(("name", "thing"), EXPORTED, ids=[name for name, _ in EXPORTED])
def test_each_public_class_and_function_is_explained(name: str, thing: Any) -> None:
    assert thing.__doc__, name
    # Dataclasses without one are given their signature instead.
    assert not thing.__doc__.startswith(f"{thing.__name__}("), name


@pytest.mark.parametrize(("name", "cls"), CLASSES, ids=[name for name, _ in CLASSES])
def test_each_public_field_is_explained(name: str, cls: type) -> None:
    _, _, attributes = (cls.__doc__ or "").partition("Attributes:")
    explained = set(re.findall(r"^ +(\w+): ", attributes, re.MULTILINE))

    # A policy's fields are the options of `tool`.
    if cls is evented_agent.ToolPolicy:
        return
    assert set(fields_of(cls)) - explained == set(), name


@pytest.mark.parametrize(("name", "cls"), CLASSES, ids=[name for name, _ in CLASSES])
def test_each_public_method_is_explained(name: str, cls: type) -> None:
    fields = {*fields_of(cls)}
    silent = [
        attribute
        for attribute, value in vars(cls).items()
        if not attribute.startswith("_")
        and attribute not in fields
        and (inspect.isfunction(value) or isinstance(value, property | classmethod))
        and not inspect.getdoc(getattr(cls, attribute))
    ]
    assert silent == [], name
