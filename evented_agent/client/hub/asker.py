"""Answers what needs no waiting: entries that exist, whether one does, the records of runs.

Whatever gathers while a round trip is under way goes with the next one, and what several readers
ask is asked once.  So any number of readers that are behind are served by two connections in turn.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from evented_agent.client.follow import CheckEntry, Read, ReadRecord, Request
from evented_agent.client.hub.group import (
    CHECK_ROLE,
    IDLE,
    Group,
    blobs_of,
    entries_of,
    first_of,
    recover,
    with_blobs,
)
from evented_agent.client.hub.waits import Failure, ThreadWait, Wait, give_all
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.error_replies import CONNECTION_FAILURES
from evented_agent.ledger.script import Command

logger = logging.getLogger(__name__)

#: Threads that ask at the same time, and so connections.
_MOST_AT_WORK = 2
#: Questions in one round trip.
_MOST_AT_ONCE = 64


class TopicSource(NamedTuple):
    """Where a run's chunks and its record are."""

    topic: str
    blobs: str
    record: Command[Any]


class _Question(NamedTuple):
    source: TopicSource
    request: Request
    wait: Wait


class Asker:
    """Sends questions of readers to Redis, from at most two threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._came = threading.Condition()
        self._questions: deque[_Question] = deque()
        self._wakes: deque[tuple[Group, int]] = deque()
        self._threads = self._idle = self._busy = 0
        self._used = self._checked = 0.0

    def ask(self, source: TopicSource, request: Request, wait: Wait) -> None:
        """Let *wait* be given the answer, or a `Failure`."""
        question = _Question(source, request, wait)
        with self._came:
            self._used = time.monotonic()
            is_free = self._busy < _MOST_AT_WORK and not self._questions
            if not (is_free and isinstance(wait, ThreadWait)):
                self._questions.append(question)
                self._call_thread()
                return
            self._busy += 1
        # The thread that asks has to wait anyway.
        try:
            give_all(self._answers([question]))
        finally:
            self._done()

    def wake(self, group: Group, read_no: int) -> None:
        """End a read of *group*, so that it is made anew with topics that came meanwhile."""
        with self._came:
            self._wakes.append((group, read_no))
            self._call_thread()

    def _done(self) -> None:
        with self._came:
            self._busy -= 1
            if self._questions or self._wakes or not self._threads:
                self._call_thread()

    def _call_thread(self) -> None:
        if self._idle:
            self._came.notify()
        elif self._threads < _MOST_AT_WORK:
            self._threads += 1
            threading.Thread(target=self._run, name="evented-agent-hub", daemon=True).start()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                self._see_to(*work)
            except Exception:
                # Else nobody would be left to answer.
                logger.exception("Asking Redis failed")
            finally:
                self._done()

    def _see_to(self, wakes: Sequence[tuple[Group, int]], questions: Sequence[_Question]) -> None:
        again = [each for each in wakes if not each[0].end_read(each[1])]
        if questions:
            give_all(self._answers(questions))
        elif again:
            # That read had not begun yet.
            time.sleep(0.001)
        if again:
            with self._came:
                self._wakes.extend(again)

    def _next(self) -> tuple[list[tuple[Group, int]], list[_Question]] | None:
        """Wait for something to do; None if nothing came."""
        with self._came:
            while self._busy >= _MOST_AT_WORK or not (self._questions or self._wakes):
                left = self._used + IDLE - time.monotonic()
                if left <= 0 and not self._busy:
                    # It also closes what threads used that asked for themselves.
                    self._threads -= 1
                    self._ledger.drop_idle()
                    return None
                self._idle += 1
                self._came.wait(max(left, 1.0))
                self._idle -= 1
            self._busy += 1
            self._used = time.monotonic()
            wakes = list(self._wakes)
            self._wakes.clear()
            most = min(_MOST_AT_ONCE, len(self._questions))
            return wakes, [self._questions.popleft() for _ in range(most)]

    def _answers(self, questions: Sequence[_Question]) -> list[tuple[Wait, Any]]:
        asked: dict[tuple[str, Request], list[_Question]] = {}
        for each in questions:
            asked.setdefault((each.source.topic, each.request), []).append(each)
        first = [group[0] for group in asked.values()]
        try:
            answers = self._ask(first)
        except CONNECTION_FAILURES as error:
            return [(each.wait, Failure(error)) for each in (*questions, *self._give_up(error))]
        except Exception as error:  # noqa: BLE001 - else readers would wait for ever
            return [(each.wait, Failure(error)) for each in questions]
        return [
            (each.wait, answer)
            for group, answer in zip(asked.values(), answers, strict=True)
            for each in group
        ]

    def _give_up(self, error: BaseException) -> list[_Question]:
        """Take the other questions as well: a server that hangs must not hang each in turn."""
        recover(self._ledger, error)
        with self._came:
            others = list(self._questions)
            self._questions.clear()
        return others

    def _ask(self, questions: Sequence[_Question]) -> list[Any]:
        records = [each for each in questions if isinstance(each.request, ReadRecord)]
        entries = [each for each in questions if not isinstance(each.request, ReadRecord)]
        answers: dict[int, Any] = {}
        if entries:
            for each, answer in zip(entries, self._ask_entries(entries), strict=True):
                answers[id(each)] = answer
        if records:
            self._check_role(records[0].source)
            found = self._ledger.send_all([each.source.record for each in records])
            for each, answer in zip(records, found, strict=True):
                answers[id(each)] = Failure(answer) if isinstance(answer, Exception) else answer
        return [answers[id(each)] for each in questions]

    def _check_role(self, source: TopicSource) -> None:
        """Records are asked for in silence: does a replica answer that was cut off?"""
        now = time.monotonic()
        if now >= self._checked + CHECK_ROLE:
            self._checked = now
            self._ledger.check_in_charge(self._ledger.reading_client(source.topic))

    def _ask_entries(self, questions: Sequence[_Question]) -> list[Any]:
        def queue(pipeline: Any, question: _Question) -> None:
            key = question.source.topic
            match question.request:
                case CheckEntry(position):
                    pipeline.xrange(key, position, position)
                case Read(position, most=most):
                    pipeline.xread({key: position}, count=most)

        found = self._pipeline(questions, queue)
        answers = [
            _answer(question, reply) for question, reply in zip(questions, found, strict=True)
        ]
        return self._with_blobs(questions, answers)

    def _with_blobs(self, questions: Sequence[_Question], answers: list[Any]) -> list[Any]:
        apart = [
            (n, names)
            for n, answer in enumerate(answers)
            if isinstance(answer, list) and (names := blobs_of(answer))
        ]
        if not apart:
            return answers
        wanted = {id(questions[n]): names for n, names in apart}

        def queue(pipeline: Any, question: _Question) -> None:
            pipeline.hmget(question.source.blobs, wanted[id(question)])

        found = self._pipeline([questions[n] for n, _ in apart], queue)
        for (n, _), payloads in zip(apart, found, strict=True):
            is_error = isinstance(payloads, Exception)
            answers[n] = Failure(payloads) if is_error else with_blobs(answers[n], payloads)
        return answers

    def _pipeline(
        self, questions: Sequence[_Question], queue: Callable[[Any, _Question], None]
    ) -> list[Any]:
        """One round trip to each server that has some of the topics."""
        by_client: dict[int, tuple[Any, list[int]]] = {}
        for n, question in enumerate(questions):
            client = self._ledger.reading_client(question.source.topic)
            by_client.setdefault(id(client), (client, []))[1].append(n)
        replies: dict[int, Any] = {}
        for client, numbers in by_client.values():
            with client.pipeline(transaction=False) as pipeline:
                for n in numbers:
                    queue(pipeline, questions[n])
                found = pipeline.execute(raise_on_error=False)
            replies |= zip(numbers, found, strict=True)
            for reply in found:
                # A slot that has moved is known to this ledger then, not only to the reader's.
                if isinstance(reply, CONNECTION_FAILURES):
                    recover(self._ledger, reply)
        return [replies[n] for n in range(len(questions))]


def _answer(question: _Question, reply: Any) -> Any:
    if isinstance(reply, Exception):
        return Failure(reply)
    if isinstance(question.request, CheckEntry):
        return bool(reply)
    if not reply:
        return []
    [(_, entries)] = reply.items() if isinstance(reply, dict) else reply
    return first_of(entries_of(entries))
