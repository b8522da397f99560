"""The type variables of public classes, with defaults: a plain `RunResult` has any output."""

from typing import Any

from typing_extensions import TypeVar

#: The JSON value that `stream` is given as ``context``, as tools and instructions see it.
Ctx = TypeVar("Ctx", default=Any)
#: What an agent answers with, where it has an output type.
Out = TypeVar("Out", default=Any)
