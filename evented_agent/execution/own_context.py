"""Calls of user code in contexts of their own: what one sets, no other sees."""

import contextvars
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


def in_own_context(function: Callable[[], _T]) -> Callable[[], _T]:
    """*function* for a thread: it sees the variables of here, and what it sets ends with it."""
    context = contextvars.copy_context()
    return lambda: context.run(function)


class OwnContext(Generic[_T]):
    """Awaits in the same task, but in a copy of the current context."""

    def __init__(self, awaitable: Awaitable[_T]) -> None:
        self._awaitable = awaitable
        self._context = contextvars.copy_context()

    def __await__(self) -> Generator[Any, Any, _T]:
        run = self._context.run
        inner = run(self._awaitable.__await__)
        resume: Callable[[], Any] = lambda: next(inner)  # noqa: E731 - replaced below
        while True:
            try:
                waits_for = run(resume)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                given = yield waits_for
            except GeneratorExit:
                run(inner.close)
                raise
            except BaseException as error:  # noqa: BLE001 - passed on to the code inside
                resume = _throwing(inner, error)
            else:
                resume = _sending(inner, given)


def _throwing(inner: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)


def _sending(inner: Generator[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: inner.send(value)
