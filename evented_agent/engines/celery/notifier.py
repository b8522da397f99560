"""Sends a Celery message for each task that is due.  It may fail, and never blocks for long."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from kombu.pools import ProducerPool

from evented_agent.agents.agent import Agent
from evented_agent.chunks.json_values import error_text, for_log
from evented_agent.ledger.records import Due
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds for connecting to the broker, and for each of its replies.
TIMEOUT = 1.0
#: Connections per process; a thread beyond that waits for `TIMEOUT`.
CONNECTIONS = 10
#: Task names are part of the message format.
NAMES = {
    "model": "evented_agent.model",
    "tool": "evented_agent.tool",
    "end": "evented_agent.end",
    "hook": "evented_agent.hook",
    "after": "evented_agent.after",
}


class CeleryNotifier:
    """Sends messages over connections of its own, with time limits and without retries.

    The app's own pool would retry for minutes when the broker is away. Where an app has several
    brokers, the next one is tried when one fails; a worker's go to the one that it consumes from.

    Attributes:
        consumed: The connection over which this process consumes, if it is a worker's.
    """

    def __init__(self, app: Celery, agents: Mapping[str, Agent[Any, Any]] | None = None) -> None:
        self.consumed: Callable[[], Any] = lambda: None
        self._app = app
        self._broker = 0
        self._agents = {} if agents is None else agents
        self._lock = threading.Lock()
        self._pid = 0
        self._pool: ProducerPool | None = None

    def notify(self, dues: Sequence[Due]) -> bool:
        """Send one message for each; False if no broker took them.  Never raises."""
        failed = self._send_somewhere(dues)
        if failed is None:
            return True
        # The run exists and its alarm is set: the message is sent later, by a watchdog.
        logger.warning(
            "The broker took no message for run %s (%s: %s); it is sent again in 5 s",
            dues[0].run_id,
            type(failed).__name__,
            for_log(error_text(failed)),
        )
        return False

    def _send_somewhere(self, dues: Sequence[Due]) -> Exception | None:
        """Send to the first broker that takes all; why the last did not, if none does."""
        try:
            brokers = self._brokers()
            self._follow_consumer(brokers)
        except Exception as error:  # noqa: BLE001 - what is configured may be no URL
            return error
        failed = self._try(dues, brokers)
        for _ in brokers[1:]:
            if failed is not None:
                failed = self._try(dues, brokers)
        return failed

    def _try(self, dues: Sequence[Due], brokers: Sequence[str | None]) -> Exception | None:
        """Send to the broker of now; if that fails, the next is that of now, and why it failed."""
        at = self._broker
        try:
            with self._producers(brokers[at % len(brokers)]).acquire(
                block=True, timeout=TIMEOUT
            ) as producer:
                for due in dues:
                    self._send(due, producer)
        except Exception as error:  # noqa: BLE001 - whatever the transport raises
            with self._lock:
                # Connect anew for the next message, also to the same address: the broker may have
                # failed over behind it. Another thread may have done so meanwhile.
                if self._broker == at:
                    self._broker = at + 1
                    self._pool = None
            return error
        return None

    def _brokers(self) -> Sequence[str | None]:
        """The URLs that Celery would try one after the other; None stands for its only one."""
        conf = self._app.conf
        given: Any = conf.broker_write_url or conf.broker_url
        urls = given.split(";") if isinstance(given, str) else list(given or ())
        # Sentinels are one broker, and kombu wants to know all of them.
        several = len(urls) > 1 and not str(urls[0]).startswith("sentinel:")
        return urls if several else (None,)

    def _follow_consumer(self, brokers: Sequence[str | None]) -> None:
        """Send to where this worker looks: of brokers that are all alive, it consumes from one."""
        consumed = self.consumed() if len(brokers) > 1 else None
        if consumed is None:
            return
        places = [_place(Connection(url)) for url in brokers if url is not None]
        if _place(consumed) not in places:
            return
        at = places.index(_place(consumed))
        with self._lock:
            if self._broker % len(brokers) != at:
                self._broker, self._pool = at, None

    def _send(self, due: Due, producer: Producer) -> None:
        root, parent = self._chain(due)
        self._app.send_task(
            NAMES[due.kind],
            args=(due.run_id, due.key),
            task_id=due.task_id,
            queue=due.queue,
            producer=producer,
            retry=False,
            serializer="json",
            compression=None,
            ignore_result=True,
            shadow=f"{due.kind}[{self._label(due)}]",
            argsrepr=f"({due.run_id}, {due.key})",
            kwargsrepr="{}",
            root_id=root,
            parent_id=parent,
        )

    def _label(self, due: Due) -> str:
        """What Flower and its metrics show; a model's inventions would be a label each."""
        if due.kind != "tool":
            return due.agent
        agent = self._agents.get(due.agent)
        if agent is None or due.tool is None:
            return "?"
        if (tool := agent.tool_named(due.tool)) is not None:
            return tool.name
        server = agent.mcp_server_of(due.tool)
        return "?" if server is None else f"{server.name}_*"

    def _chain(self, due: Due) -> tuple[str | None, str | None]:
        """Root and parent in Flower, when no task of the chain sends the message itself."""
        root = f"{due.run_id}:1:model:1"
        if self._app.current_worker_task is not None or due.task_id == root:
            return None, None
        if due.generation == 1:
            return root, None
        return root, f"{due.run_id}:{due.key}:{due.generation - 1}"

    def _producers(self, broker: str | None) -> ProducerPool:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._pool = self._new_pool(broker)
            return self._pool

    def _new_pool(self, broker: str | None) -> ProducerPool:
        connection: Connection = self._app.connection_for_write(broker, connect_timeout=TIMEOUT)
        options = dict(connection.transport_options or {})
        # The names of Redis and of AMQP; each transport ignores the other's.
        options |= {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        if "amqp" in (connection.transport_cls or ""):
            options |= {"read_timeout": TIMEOUT, "write_timeout": TIMEOUT}
        options |= {"max_retries": 0, "interval_start": 0, "interval_step": 0}
        connection.transport_options = options
        return ProducerPool(connection.Pool(limit=CONNECTIONS), limit=CONNECTIONS)


def _place(connection: Any) -> tuple[Any, ...]:
    """Where a connection leads, whatever else its URL says."""
    virtual_host = str(connection.virtual_host or "").strip("/")
    port = connection.port or connection.default_port
    return (connection.transport_cls, connection.hostname, port, virtual_host)
