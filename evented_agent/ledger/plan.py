"""Plans: what an API call asks of Redis and the broker, once for threads and event loops.

A plan is a generator.  It yields requests, is sent their answers, is thrown their errors, and
returns what the call returns.  `Ledger.run` drives it from a thread, `Ledger.arun` from an event
loop; nothing else in a plan differs between the two.

>>> def status_of(keys, run_id):
...     record = yield from send(read(keys, run_id))
...     return record.fields["status"]
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from evented_agent.ledger.records import Due
from evented_agent.ledger.script import Command

_T = TypeVar("_T")


class Notifier(Protocol):
    """Tells workers that tasks are due.  May fail: a watchdog sends the message again."""

    def notify(self, dues: Sequence[Due], /) -> bool:
        """Send one message for each; False if that was not possible.  Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class ReadBlobs:
    """Read large payloads of one run, which are stored apart from what points to them."""

    key: str
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class SendMessages:
    """Send the messages of tasks that are due; on an event loop, from a thread beside it."""

    notifier: Notifier
    dues: Sequence[Due]


@dataclass(frozen=True, slots=True)
class CallBeside:
    """Call what belongs to neither Redis nor the broker; on an event loop, from a thread beside it.

    What it raises ends the plan.
    """

    function: Callable[[], None]


PlanRequest = Command[Any] | Sequence[Command[Any]] | ReadBlobs | SendMessages | CallBeside
Plan = Generator[PlanRequest, Any, _T]


def send(command: Command[_T]) -> Plan[_T]:
    """Send one command; its value.  Raises what the command's reply means."""
    value: _T = yield command
    return value


def send_all(commands: Sequence[Command[_T]]) -> Plan[list[_T | Exception]]:
    """Send commands in one round trip; an error that one's reply means stands in its place."""
    values: list[_T | Exception] = yield commands
    return values


def read_blobs(key: str, names: Sequence[str]) -> Plan[list[bytes]]:
    """Read large payloads by name; no round trip for none."""
    if not names:
        return []
    payloads: list[bytes] = yield ReadBlobs(key, names)
    return payloads


def notify(notifier: Notifier, dues: Sequence[Due]) -> Plan[None]:
    """Send the messages of what is due, if anything is."""
    if dues:
        yield SendMessages(notifier, dues)


def call_beside(function: Callable[[], None]) -> Plan[None]:
    """Call *function*, which does I/O of its own.  Raises what it does."""
    yield CallBeside(function)
