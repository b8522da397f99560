"""The watchdog: polls due alarms, recovers runs whose worker died, and announces its own worker.

A daemon thread with time-limited I/O in the parent of each worker; it needs no broker and no event
loop.  A short lock per shard makes it one poll per tick for the whole fleet.
"""

import dataclasses
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from evented_agent.errors import LedgerUnavailable
from evented_agent.execution.counts import Counts
from evented_agent.execution.ended_runs import EndedRuns
from evented_agent.execution.index_trimmer import IndexTrimmer
from evented_agent.execution.lease import boottime
from evented_agent.execution.sender import Notify, Sender
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.settings import Settings, milliseconds
from evented_agent.ledger.watch import (
    Reconciled,
    Since,
    Tick,
    give_up_run,
    is_script_error,
    pause_ms,
    reconcile,
    ring,
    tick,
    whose,
)
from evented_agent.ledger.workers import LiveWorker, announce, announce_leaving, live_workers
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds between two polls of the watchdog that holds the lock.
TICK = 0.5
#: How long the lock outlives its holder (ms), well under a lease.
LOCK_MS = 1_500
#: Runs looked at together: those with a due alarm, and those with an unconfirmed message.
_MOST_RUNS = 200
#: Seconds that one poll may work on before it announces its worker and looks at other shards.
_WORK = 1.0
#: Bells so far away (ms) are of runs that nobody served; so many of them ring at a time.
_FAR_MS, _MOST_BELLS = 60_000, 2_000
#: Seconds between two announcements of a worker, and between two counts of the fleet.
ANNOUNCE = 3.0
COUNT = 1.0

#: After so many looks in a row that erred on what is stored of it, a run is failed.
MOST_ERRORS = 5
#: Where more runs than that err at once, the fault is not in their records, and none is failed.
MOST_ERRING = 20

#: A process that executes what it is told, without a broker: its tasks are in no queue.
_LOCAL, _ANY = "local", "*"


class Watchdog:
    """Watches the alarms of all shards from one thread."""

    def __init__(
        self,
        keys: Keys,
        url: str,
        *,
        settings: Settings,
        notify: Notify,
        myself: Callable[[], LiveWorker],
    ) -> None:
        self._keys = keys
        self._ledger = Ledger(url)
        self._lease_ms = settings.lease_ms
        kept = {
            "record_ms": milliseconds(settings.record_ttl),
            "thread_ms": milliseconds(settings.thread_ttl),
        }
        self._trimmers = [
            IndexTrimmer(keys, self._ledger, shard, **kept) for shard in range(keys.shards)
        ]
        self._counts = Counts(keys, self._ledger)
        self._ended = [
            EndedRuns(keys, self._ledger, shard, self._counts) for shard in range(keys.shards)
        ]
        self._myself = myself
        self._id = secrets.token_hex(6)
        self._last_poll: dict[int, tuple[int, float]] = {}
        self._next_poll = dict.fromkeys(range(keys.shards), boottime())
        self._next_announcement = 0.0
        self._next_count = 0.0
        self._erred: dict[str, int] = {}
        self._fleet = 1
        self._workers: Sequence[LiveWorker] = ()
        self._served: frozenset[tuple[str, str, int]] = frozenset()
        self._rung: dict[int, frozenset[tuple[str, str, int]]] = {}
        self._room: dict[str, int] = {}
        self._is_behind = False
        self._sender = Sender(notify)
        self._saw_pause = False
        self._is_leaving = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="evented-agent-watchdog", daemon=True
        )

    def start(self) -> None:
        self._sender.start()
        self._thread.start()

    def leave(self) -> None:
        """Announce that the worker takes no more tasks; alarms are still watched."""
        self._is_leaving.set()
        try:
            self._ledger.send(announce_leaving(self._keys, self._myself().id), retry_for=0)
        except LedgerUnavailable:
            logger.info("The worker could not announce that it stops; it expires in 10 s")

    def stop(self) -> None:
        """Stop; another watchdog takes over within 2 s."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._sender.stop()

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            try:
                self._announce()
                for shard in range(self._keys.shards):
                    if boottime() >= self._next_poll[shard] - TICK / 2:
                        self._poll(shard)
            except LedgerUnavailable as error:
                logger.warning("The watchdog cannot reach Redis: %s", error)
            except Exception:
                # Without a watchdog nothing recovers a run: no exception may end this thread.
                logger.exception("Watchdog tick failed; continuing")
            if self._is_behind:
                self._is_behind = False
                continue
            self._is_stopped.wait(TICK * random.uniform(0.8, 1.2))
        self._count_last()
        self._ledger.close()

    def _announce(self) -> None:
        now = time.monotonic()
        if now < self._next_announcement or self._is_leaving.is_set():
            return
        self._fleet = self._ledger.send(announce(self._keys, self._myself()), retry_for=0)
        self._next_announcement = now + ANNOUNCE

    def _poll(self, shard: int) -> None:
        look = self._tick(shard)
        if not look.is_watching:
            # The more watchdogs wait for the lock, the less often each of them polls.
            spread = random.uniform(0, self._fleet / 10)
            self._next_poll[shard] += look.wait_ms / 1000 + spread
            return
        self._trimmers[shard].work(look.now, self._myself().agents)
        self._look_around()
        self._ring(shard)
        self._recover(shard, look)
        self._ended[shard].count(self._agents)

    def _recover(self, shard: int, look: Tick) -> None:
        """Look at the runs that are due, for a while."""
        ends = time.monotonic() + _WORK / self._keys.shards
        while True:
            self._reconcile(look, look.due, may_send=False)
            self._reconcile(look, look.unconfirmed, may_send=True)
            if max(len(look.due), len(look.unconfirmed)) < _MOST_RUNS:
                return
            if time.monotonic() > ends or self._is_stopped.is_set():
                # More is due: looked at again at once.
                self._next_poll[shard] = boottime()
                self._is_behind = True
                return
            look = self._tick(shard)

    def _reconcile(self, look: Tick, run_ids: Sequence[str], *, may_send: bool) -> None:
        if not run_ids:
            return
        calls = []
        owners = self._ledger.send(whose(self._keys, run_ids), retry_for=0)
        for run_id, (queue, agent, format_) in zip(run_ids, owners, strict=True):
            is_served = self._serves(queue, agent, format_)
            has_room = may_send and is_served and self._take_room(queue)
            calls.append(
                reconcile(
                    self._keys,
                    run_id,
                    look=look,
                    may_send=has_room,
                    # Each its own: those that had no room now must not all come back at once.
                    jitter=random.random(),
                    is_served=is_served,
                )
            )
        answers = self._ledger.send_all(calls)
        for run_id, (_, agent, _), found in zip(run_ids, owners, answers, strict=True):
            self._found(run_id, found)
            if isinstance(found, Reconciled) and (found.crashes or found.is_late):
                known = agent if agent in self._agents else ""
                if found.crashes:
                    self._counts.add("crashes", known, len(found.crashes))
                if found.is_late:
                    self._counts.add("late_looks", known)
        if refused := [found for found in answers if isinstance(found, LedgerUnavailable)]:
            logger.warning("%d runs could not be looked at: %s", len(refused), refused[0])

    def _serves(self, queue: str, agent: str, format_: int) -> bool:
        """Whether a live worker would take a message of such a run."""
        return any(
            (to in (queue, _ANY)) and by == agent and newest >= format_
            for to, by, newest in self._served
        )

    def _take_room(self, queue: str) -> bool:
        """Whether one more message helps: none does while all slots of its queue are busy."""
        room = self._room.get(queue)
        if room is None:
            here = [w for w in self._workers if queue in w.queues or w.pool == _LOCAL]
            room = max(1, sum(worker.slots - worker.busy for worker in here))
            if not self._sender.works:
                room = 1
        self._room[queue] = room - 1
        return room > 0

    def _ring(self, shard: int) -> None:
        """When somebody came who serves what nobody did, look at all that waits for long."""
        before = self._rung.get(shard, frozenset())
        self._rung[shard] = self._served
        if self._served <= before:
            return
        call = ring(self._keys, shard, after_ms=_FAR_MS, most=_MOST_BELLS)
        while self._ledger.send(call, retry_for=0) == _MOST_BELLS:
            pass

    def _tick(self, shard: int) -> Tick:
        started = boottime()
        last_now, last_at = self._last_poll.get(shard, (0, started))
        late = started - self._next_poll[shard]
        # Mostly only this process was late; this late, perhaps all of the machine was.
        saw_pause = self._saw_pause or late * 1000 > self._lease_ms
        call = tick(
            self._keys,
            shard,
            watchdog=self._id,
            lock_ms=LOCK_MS,
            since=Since(last_now, int((started - last_at) * 1000), saw_pause),
            most=_MOST_RUNS,
            lease_ms=self._lease_ms,
        )
        # Until there is an answer, Redis counts as silent.
        self._saw_pause = True
        look: Tick = self._ledger.send(call, retry_for=0)
        took = boottime() - started
        self._saw_pause = took * 1000 > pause_ms(self._lease_ms)
        self._last_poll[shard] = (look.now, started + took)
        self._next_poll[shard] = started + TICK
        if look.grace_begins:
            logger.warning(
                "Redis %s: leases count again in %.0f s",
                look.grace_begins,
                self._lease_ms / 1000 + 2,
            )
        # Redis was paused during the call: the next tick reports that before leases count.
        return dataclasses.replace(look, due=(), unconfirmed=()) if self._saw_pause else look

    @property
    def _agents(self) -> frozenset[str]:
        """What agents are declared, as far as this watchdog has heard."""
        return frozenset(agent for _, agent, _ in self._served) | {*self._myself().agents}

    def _count_last(self) -> None:
        """Count what has ended meanwhile, before this worker goes; another would do it later."""
        for ended in self._ended:
            ended.count(self._agents, is_last=True)
        self._counts.stop()

    def _look_around(self) -> None:
        """Who lives, and what is served by whom; once a second."""
        now = time.monotonic()
        if now < self._next_count:
            return
        self._next_count = now + COUNT
        self._workers = self._ledger.send(live_workers(self._keys), retry_for=0)
        self._served = frozenset(
            (queue, agent, worker.format)
            for worker in self._workers
            for queue in ((_ANY,) if worker.pool == _LOCAL else worker.queues)
            for agent in worker.agents
        )
        self._room = {}

    def _found(self, run_id: str, found: Reconciled | BaseException) -> None:
        about = {"run_id": run_id}
        if isinstance(found, LedgerUnavailable) and not is_script_error(found):
            # The same for many: logged once for all.
            return
        if isinstance(found, BaseException):
            logger.error("Run %s could not be reconciled: %r", run_id, found, extra=about)
            self._give_up(run_id, found)
            return
        self._erred.pop(run_id, None)
        for crash in found.crashes:
            logger.warning(
                "Run %s: the lease of %s on %s expired (crash %d); another worker takes over",
                run_id,
                crash["key"],
                crash.get("owner"),
                crash["crashes"],
                extra=about | {"task": crash["key"]},
            )
        for soon in found.expiring:
            logger.warning(
                "Run %s: nobody has decided about %s; on %s UTC it %s",
                run_id,
                soon["key"],
                datetime.fromtimestamp(soon["expires"] / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
                "fails" if soon["on_expiry"] == "fail" else "is declined",
                extra=about | {"task": soon["key"]},
            )
        if found.sends:
            self._sender.send(found.sends)

    def _give_up(self, run_id: str, error: BaseException) -> None:
        """Fail a run that cannot be looked at: nobody else would ever end it."""
        if not is_script_error(error):
            return
        self._erred[run_id] = self._erred.get(run_id, 0) + 1
        if self._erred[run_id] < MOST_ERRORS or len(self._erred) > MOST_ERRING:
            return
        del self._erred[run_id]
        if self._ledger.send(give_up_run(self._keys, run_id), retry_for=0):
            logger.error(
                "Run %s is failed: each look at it erred", run_id, extra={"run_id": run_id}
            )
