"""The example `use_chat` with two workers, and chats of the AI SDK with it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

from evented_agent import RunInfo, RunResult, Runs
from tests.examples.sites import EXAMPLES, PATIENCE, Process, Site, environment
from tests.support.node import CLIENTS, NodeScript, run_script
from tests.support.servers import free_port
from tests.support.workers import wait_until
from tests.web.cutting_proxy import CuttingProxy

State = dict[str, Any]
Part = dict[str, Any]


class UseChatSite(Site):
    """The example, a second worker, and a network in front that drops connections."""

    def __init__(
        self, web: Process, workers: Mapping[str, Process], port: int, url: str, folder: Path
    ) -> None:
        [first, *others] = workers.values()
        super().__init__(web, first, port, url, folder)
        self.url = f"http://127.0.0.1:{port}"
        # Playwright has an event loop in the thread of the tests.
        self.runs = Runs(url, allow_blocking=True)
        self._workers, self._others = workers, others

    def __enter__(self) -> Self:
        for worker in self._others:
            worker.start()
        super().__enter__()
        wait_until(
            lambda: all(" ready." in worker.text() for worker in self._others),
            "the other workers are ready",
            PATIENCE,
        )
        return self

    def __exit__(self, *what: object) -> None:
        super().__exit__(*what)
        for worker in self._others:
            worker.kill()
        self.runs.close()

    def kill_worker_of(self, run_id: str) -> None:
        """SIGKILL whoever works on a run, and start another in its place."""
        owner = wait_until(lambda: self.runs.get(run_id).worker, "a worker has the run")
        worker = self._workers[owner.partition("@")[0]]
        worker.kill()
        worker.start()

    def ended(self, run_id: str) -> RunInfo:
        wait_until(lambda: self.runs.get(run_id).is_ended, "the run has ended", 60)
        return self.runs.get(run_id)

    def result(self, run_id: str) -> RunResult[Any]:
        self.ended(run_id)
        return self.runs.result(run_id)

    def cookie(self) -> str:
        """Of a new visitor."""
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            return f"session={client.get('/').cookies['session']}"


@contextmanager
def use_chat_site(redis_url: str, model_url: str, folder: Path) -> Iterator[UseChatSite]:
    port, script = free_port(), folder / "page.js"
    build(script)
    env = environment(redis_url, model_url) | {"PAGE_JS": str(script), "REPORT_SECONDS": "8"}
    command = ["uvicorn", "use_chat.main:web", "--port", str(port)]
    web = Process(command, EXAMPLES, env, folder / "web")
    workers = {name: _worker(name, env, folder) for name in ("one", "two")}
    with UseChatSite(web, workers, port, redis_url, folder) as site:
        yield site


def build(script: Path) -> None:
    """Bundle the page with the packages of the tests, with the command of the example."""
    options = ["--bundle", "--minify", "--jsx=automatic", f"--outfile={script}"]
    page = str(EXAMPLES / "use_chat/page.jsx")
    packages = {"NODE_PATH": str(CLIENTS / "node_modules")}
    run_script("node_modules/esbuild/bin/esbuild", page, *options, env=packages)


def _worker(name: str, env: Mapping[str, str], folder: Path) -> Process:
    command = ["celery", "-A", "use_chat.agents", "worker", "-P", "threads", "-c", "10"]
    quick = ["-Q", "agents", "-n", f"{name}@test", "--loglevel", "INFO", "--without-gossip"]
    return Process([*command, *quick, "--without-mingle"], EXAMPLES, env, folder / name)


class SdkChat:
    """A chat of the AI SDK under Node, over a network of its own."""

    def __init__(self, site: UseChatSite, network: CuttingProxy, kind: str, cookie: str) -> None:
        self.id = uuid4().hex
        self.network = network
        self.state: State = {}
        api = f"http://127.0.0.1:{network.port}/agents/ai/assistant"
        self._script = NodeScript("ai_sdk.mjs", kind, api, cookie, self.id)
        self._site = site

    def tell(self, **command: Any) -> None:
        self._script.tell(command)

    def send(self, text: str, **body: Any) -> None:
        self.tell(send={"text": text, "body": body})
        self.until(lambda state: state["status"] == "submitted", "the message is sent")

    def until(self, holds: Callable[[State], bool], description: str) -> State:
        """Read states until one is as wanted."""
        while not (self.state and holds(self.state)):
            self.state = self._script.hear()
        assert holds(self.state), (description, self.state)
        return self.state

    def until_settled(self) -> State:
        """Until the chat does nothing any more."""
        return self.until(lambda state: state["status"] in ("ready", "error"), "it has settled")

    def until_text(self, text: str) -> None:
        self.until(lambda _: self.text.endswith(text), f"it has said {text!r}")

    @property
    def answer(self) -> Mapping[str, Any]:
        """The last message, if it is the agent's."""
        [*_, last] = self.state["messages"] or [{}]
        return last if last.get("role") == "assistant" else {}

    @property
    def run_id(self) -> str:
        return str(self.answer["id"])

    @property
    def text(self) -> str:
        return text_of(self.answer)

    @property
    def calls(self) -> list[Part]:
        return [part for part in self.answer["parts"] if part["type"] == "dynamic-tool"]

    def parts(self, type_: str) -> list[Part]:
        return [part for part in self.answer["parts"] if part["type"] == type_]

    def close(self) -> None:
        self._script.close()


def text_of(message: Mapping[str, Any]) -> str:
    """The texts of a message, paragraphs kept apart as `result().text` has them."""
    texts = [part["text"] for part in message.get("parts", ()) if part["type"] == "text"]
    return "\n\n".join(filter(None, texts))
