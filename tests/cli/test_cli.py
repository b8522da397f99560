"""The command line as people and scripts use it: processes, pipes, signals, exit codes."""

import fcntl
import json
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from evented_agent import RunDeleted, RunFailed, Runs, Settings
from evented_agent.chunks import TextUpdate
from evented_agent.cli import main
from evented_agent.cli.follow import Typewriter
from evented_agent.ledger import workers
from evented_agent.ledger.records import FORMAT
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer
from tests.support.warm_start import run_warm
from tests.support.words import TEXT
from tests.support.workers import ROOT, WorkerProcess, wait_until

SCRIPT = str(Path(sys.executable).with_name("evented-agent"))
APP = ("-A", "tests.support.app")

Env = dict[str, str]

with_worker = pytest.mark.usefixtures("worker")


class CliWorker(WorkerProcess):
    """A worker started with the command for it."""

    def __init__(self, env: Env, log: Path, *options: str) -> None:
        super().__init__(env, log, name="cli")
        command = ["evented-agent", "worker", *APP, "-n", "cli@test", *options]
        self._command = [*command, "--", "--loglevel", "DEBUG"]


@pytest.fixture(scope="module")
def env(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Env:
    """The environment of every command here: a deployment of its own."""
    return {
        **os.environ,
        "TEST_BROKER_URL": redis_server.url,
        "TEST_REDIS_URL": redis_server.url,
        "TEST_MARKS": str(tmp_path_factory.mktemp("marks")),
        "TEST_PREFIX": "cli",
    }


@pytest.fixture(scope="module")
def worker(env: Env, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with CliWorker(env, tmp_path_factory.mktemp("cli") / "worker.log") as started:
        yield started


@pytest.fixture(scope="module")
def door(redis_server: RedisServer) -> Runs:
    return Runs(redis_server.url, settings=Settings(prefix="cli"))


def command(env: Env, *arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return run_warm(["evented-agent", *arguments], env, cwd=cwd)


def started(env: Env, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [SCRIPT, *arguments],
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def here(door: Runs, *arguments: str) -> Result:
    """A command in this process, on the runs behind *door*."""
    place = ("--redis", door.redis_url, "--prefix", door.settings.prefix)
    return cli_runner().invoke(main, [*place, *arguments])


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def read_until(stream: Any, word: str) -> str:
    text = ""
    while not text.endswith(word):
        piece = stream.read(1)
        assert piece, f"ended before {word!r}: {text!r}"
        text += piece
    return text


@with_worker
def test_a_run_prints_its_text_and_notes_its_tools(env: Env) -> None:
    done = command(env, "run", *APP, "calculator", "Add.")

    assert done.stdout == "Let me add.\n\nThe sums are [3, 7].\n"
    assert done.returncode == 0
    assert "> add(a=1, b=2)" in done.stderr
    assert "< add: 7" in done.stderr


@with_worker
def test_a_detached_run_prints_its_id_alone_and_is_watched_from_a_cursor(
    env: Env, door: Runs
) -> None:
    done = command(env, "run", *APP, "--detach", "calculator", "Add.")
    run_id = done.stdout.removesuffix("\n")
    assert (done.returncode, done.stderr) == (0, "")

    watched = here(door, "runs", "watch", run_id, "--json", "-q")
    rest = here(door, "--json", "runs", "watch", "--after", "7", run_id)

    chunks = rows(watched.stdout)
    assert [chunk["seq"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert {chunk["runId"] for chunk in chunks} == {run_id}
    assert rows(rest.stdout) == chunks[7:]
    assert (watched.exit_code, watched.stderr) == (0, "")


@with_worker
def test_ctrl_c_detaches_and_the_told_command_goes_on_where_it_was(env: Env, door: Runs) -> None:
    following = started(env, "run", *APP, "speaker", "Talk.")
    assert following.stdout is not None
    said = read_until(following.stdout, "word9 ")
    following.send_signal(signal.SIGINT)
    # Not by `communicate`, which leaves out what was read ahead with the last word.
    with following:
        assert following.stderr is not None
        rest, told = following.stdout.read(), following.stderr.read()

    assert following.returncode == 130
    again = shlex.split(told.rpartition("Come back with: ")[2])
    assert again[0] == "evented-agent"
    resumed = command(env, *again[1:])
    assert (said + rest).removesuffix("\n") + resumed.stdout.removesuffix("\n") == TEXT
    assert resumed.returncode == 0
    assert door.get(again[again.index("watch") + 1]).status == "finished"


@with_worker
def test_a_reader_that_leaves_ends_the_watching_quietly(env: Env) -> None:
    run_id = command(env, "run", *APP, "--detach", "speaker", "Talk.").stdout.strip()
    watching = started(env, "runs", "watch", *APP, "--json", run_id)
    assert watching.stdout is not None
    assert watching.stderr is not None
    # All that the run says does not fit, so that there is more to write whenever the reader leaves.
    fcntl.fcntl(watching.stdout, fcntl.F_SETPIPE_SZ, 4096)
    select.select([watching.stdout], [], [], 20)
    watching.stdout.close()

    assert watching.wait(20) == 141
    assert watching.stderr.read() == ""
    watching.stderr.close()


@with_worker
def test_a_run_is_listed_shown_aborted_and_deleted(env: Env, door: Runs) -> None:
    run_id = "to-be-aborted"
    command(env, "run", *APP, "--detach", "--run-id", run_id, "speaker", "Talk.")
    wait_until(lambda: door.get(run_id).status == "running", "the run is taken up")

    [listed] = rows(here(door, "--json", "runs", "ls", "--agent", "speaker", "--limit", "1").stdout)
    assert (listed["run_id"], listed["status"]) == (run_id, "running")
    assert here(door, "runs", "abort", run_id, "--reason", "enough").exit_code == 0
    watched = here(door, "runs", "watch", run_id)
    assert (watched.exit_code, watched.stderr) == (1, f"Run {run_id} was aborted.\n")
    shown = here(door, "runs", "show", run_id).stdout
    assert "status      aborted" in shown
    assert "user: Talk." in shown
    [as_json] = rows(here(door, "--json", "runs", "show", run_id).stdout)
    assert as_json["input"] == [{"role": "user", "content": "Talk."}]
    assert here(door, "runs", "delete", run_id).exit_code == 0
    with pytest.raises(RunDeleted):
        door.get(run_id)


@with_worker
def test_conversations_are_listed_shown_named_and_forgotten(env: Env, door: Runs) -> None:
    for name in ("tea", "cake"):
        whose = ("--thread", name, "--resource", "cli-ann")
        assert command(env, "run", *APP, "-q", *whose, "calculator", f"Add {name}.").returncode == 0

    listed = here(door, "threads", "--resource", "cli-ann").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["THREAD", "cake", "tea"]
    assert "The sums are [3, 7]." in listed[1]
    first = here(door, "--json", "threads", "--resource", "cli-ann", "--limit", "1")
    page = first.stderr.split()[-1]
    rest = here(door, "--json", "threads", "--resource", "cli-ann", "--page", page)
    assert [row["thread_id"] for row in rows(first.stdout + rest.stdout)] == ["cake", "tea"]
    assert (rest.stderr, rows(rest.stdout)[0]["runs"]) == ("", 1)

    of_ann = ("--resource", "cli-ann")
    assert here(door, "threads", "rename", "tea", "Tea time", *of_ann).exit_code == 0
    shown = here(door, "threads", "show", "tea", *of_ann).stdout
    assert "title       Tea time" in shown
    assert "user: Add tea." in shown
    assert "> add(a=1, b=2)" in shown
    assert "assistant: The sums are [3, 7]." in shown
    missing = here(door, "threads", "show", "tea")
    assert (missing.exit_code, "There is no thread 'tea'" in missing.stderr) == (1, True)
    assert here(door, "threads", "rm", "tea", *of_ann).exit_code == 0
    assert door.thread_info("tea", resource_id="cli-ann") is None


@with_worker
def test_a_failed_run_is_told_and_exits_with_1(env: Env) -> None:
    done = command(env, "run", *APP, "-q", "failing", "Try.")

    assert (done.returncode, done.stdout) == (1, "")
    assert "failed. ModelError: out of credit" in done.stderr


@with_worker
def test_a_call_that_waits_is_listed_and_decided(env: Env, door: Runs) -> None:
    for run_id, name in (("approved", "a"), ("declined", "b")):
        done = command(
            env, "run", *APP, "--run-id", run_id, "toolbox", f'erase {{"name": "{name}"}}'
        )
        assert done.returncode == 0
        assert f"evented-agent -A tests.support.app runs approve {run_id}" in done.stderr
    listed = rows(here(door, "--json", "runs", "pending", "--agent", "toolbox").stdout)
    assert [each["run_id"] for each in listed] == ["approved", "declined"]
    assert "erase" in here(door, "runs", "pending").stdout

    edited = here(door, "runs", "approve", "approved", "--args", '{"name": "c"}', "--by", "ann")
    assert edited.exit_code == 0
    assert here(door, "runs", "decline", "declined", "--reason", "mine").exit_code == 0
    assert door.observe("approved").result(20).answer == "erased c"
    assert "mine" in door.observe("declined").result(20).answer
    again = here(door, "runs", "decline", "approved")
    assert (again.exit_code, "was approved by 'ann' at" in again.stderr) == (1, True)
    assert "Nothing waits" in here(door, "runs", "pending").stderr


@with_worker
def test_a_suspended_tool_is_resumed(env: Env, door: Runs) -> None:
    command(env, "run", *APP, "--run-id", "asks", "toolbox", 'ask {"question": "Really?"}')
    assert "Really?" in here(door, "runs", "pending").stdout

    assert here(door, "runs", "resume", "asks", "not json").exit_code == 2
    assert here(door, "runs", "resume", "asks", '"yes"').exit_code == 0
    assert door.observe("asks").result(20).answer == "They say yes."


@with_worker
def test_a_failed_run_is_tried_again(env: Env, door: Runs) -> None:
    command(env, "run", *APP, "-q", "--run-id", "tried-again", "failing", "Try.")
    assert here(door, "runs", "retry", "tried-again").exit_code == 0
    with pytest.raises(RunFailed):
        door.observe("tried-again").result(20)
    command(env, "run", *APP, "-q", "--run-id", "went-well", "hello", "Hi.")
    wrong = here(door, "runs", "retry", "went-well")
    assert (wrong.exit_code, "only a failed run" in wrong.stderr) == (1, True)


@with_worker
def test_an_unknown_agent_is_told_with_those_that_are_known(env: Env) -> None:
    done = command(env, "run", *APP, "nobody", "Hi")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: No agent named 'nobody' (registered: calculator,")


@with_worker
def test_the_commands_are_celerys_too(env: Env, door: Runs) -> None:
    done = run_warm(["celery", *APP, "agents", "runs", "ls", "--json"], env)

    assert done.returncode == 0, done.stderr
    assert {row["run_id"] for row in rows(done.stdout)} == {run.run_id for run in door.list()}


@with_worker
def test_the_worker_serves_the_queue_of_the_apps_agents(door: Runs) -> None:
    [live] = rows(here(door, "--json", "workers").stdout)

    assert (live["node"], live["queues"], live["slots"]) == ("cli@test", ["agents"], 100)
    assert "calculator" in here(door, "workers").stdout


def test_the_workers_log_is_json_where_the_command_says_so(env: Env, tmp_path: Path) -> None:
    worker = CliWorker({**env, "TEST_PREFIX": "json"}, tmp_path / "worker.log", "--log-format=json")

    def messages() -> list[str]:
        whole = worker.text().rpartition("\n")[0].splitlines()
        return [json.loads(line)["message"] for line in whole if line.startswith("{")]

    with worker:
        wait_until(lambda: "cli@test ready." in messages(), "its line is whole")


@with_worker
def test_a_doctor_finds_nothing_wrong_with_a_healthy_deployment(env: Env) -> None:
    done = command(env, "doctor", *APP)

    assert (done.stdout, done.stderr, done.returncode) == ("No problem found.\n", "", 0)


def test_a_run_without_a_worker_says_what_it_waits_for(env: Env, redis_server: RedisServer) -> None:
    lonely = Runs(redis_server.url, settings=Settings(prefix="lonely", queue="nobody"))
    alone = {**env, "TEST_PREFIX": "lonely", "TEST_QUEUE": "nobody"}
    following = started(alone, "run", *APP, "hello", "Hi")
    assert following.stderr is not None
    told = read_until(following.stderr, "evented-agent worker -A tests.support.app -Q nobody")
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=20)

    assert "waits for a worker for queue 'nobody'" in told
    assert following.returncode == 130
    [info] = lonely.list()
    found = [row["what"] for row in rows(command(alone, "doctor", *APP, "--json").stdout)]
    assert found[0] == "No live worker on queue 'nobody'."
    assert found[1].startswith("1 run waits for a worker for queue 'nobody' (since")
    assert info.run_id in found[1]


def test_a_doctor_finds_a_server_that_may_lose_runs(tmp_path: Path) -> None:
    forgetful = ("--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path / "redis", aof=False, extra=forgetful) as server:
        runs = Runs(server.url)
        done = here(runs, "doctor")
        assert runs.ledger.client().keys() == []

    assert done.exit_code == 1
    where = f"- Redis at {server.url}"
    assert f"{where} has maxmemory-policy 'allkeys-lru' and may drop runs. Set" in done.stdout
    assert f"{where} has no append-only file: a restart loses all runs. Set" in done.stdout
    assert "- No live worker. Start one with" in done.stdout
    unreachable = here(runs, "doctor")
    assert unreachable.exit_code == 1
    assert "could not be reached" in unreachable.stdout


SHOP = """
from celery import Celery
from evented_agent import Agent, Settings, create_evented_agent
app = Celery("shop", broker="redis://127.0.0.1:1/0")
app.conf.update(
    accept_content=["pickle"], worker_pool="gevent", task_create_missing_queues=False,
    evented_agent_redis_url="{url}",
)
create_evented_agent(
    Agent(id="clerk", model="openai/x"), app=app, settings=Settings(prefix="shop", shards=2)
)
"""


def test_a_doctor_finds_what_is_wrong_with_an_app_and_its_workers(
    env: Env, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP.format(url=redis_server.url))
    runs = Runs(redis_server.url, settings=Settings(prefix="shop", shards=3))
    runs.check()
    old = workers.LiveWorker(
        "old/1", "old@host", ["agents"], ["cook"], "threads", 1, format=FORMAT - 1
    )
    runs.ledger.send(workers.announce(runs.keys, old))

    done = command(env, "doctor", "-A", "shop", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (1, "")
    problems = done.stdout.splitlines()
    for problem, says in zip(
        problems,
        [
            "accept_content = ['pickle'] refuses agent messages",
            "worker_pool = 'gevent' cannot run agents",
            "task_queues lacks 'agents'",
            "127.0.0.1:1/0 cannot be reached (ConnectionError: ",
            "Settings(shards=2), and runs are spread over 3. Set shards=3",
            "Worker old@host does not serve 'clerk'",
            f"Worker old@host knows format {FORMAT - 1}, and others write {FORMAT}",
        ],
        strict=True,
    ):
        assert says in problem


def test_runs_are_found_over_any_number_of_shards_without_an_app(
    redis_server: RedisServer,
) -> None:
    Runs(redis_server.url, settings=Settings(prefix="wide", shards=4)).check()

    done = here(Runs(redis_server.url, settings=Settings(prefix="wide")), "runs", "show", "x")

    assert done.stderr.startswith("Error: No run 'x'.")


def test_an_unknown_run_is_told_in_one_sentence(door: Runs) -> None:
    for name in ("show", "watch", "abort", "delete"):
        done = here(door, "runs", name, "no-such-run")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: No run 'no-such-run'.")
        assert done.stderr.count("\n") == 1


def test_wrong_usage_exits_with_2(door: Runs) -> None:
    for arguments, says in (
        (("runs", "watch", "x", "--after", "yesterday"), "'yesterday' is no cursor"),
        (("runs", "ls", "--since", "5y"), "'5y' is neither a span"),
        (("run", "hello", "Hi"), "-A MODULE"),
        (("-A", "tests.support.app", "runs", "ls"), "leave out either"),
    ):
        done = here(door, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert says in done.stderr


def test_a_redis_url_is_refused_without_showing_it() -> None:
    done = cli_runner().invoke(main, ["runs", "ls", "--redis", "redis//:secret@host"])

    assert done.exit_code == 1
    assert "redis://HOST:PORT/DB" in done.stderr
    assert "secret" not in done.output


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom at {file}:1."),
        ("import there_is_none", "No module named 'there_is_none' at {file}:1."),
        ("x = 1", "there is no Celery app in that module"),
        ("app = 1", "names 'int', not a Celery app"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_told_with_its_line(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{abs(hash(code))}"
    file = tmp_path / f"{name}.py"
    file.write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    done = cli_runner().invoke(main, ["workers", "-A", name])

    assert done.exit_code == 1
    assert says.format(file=file) in done.stderr
    assert done.stderr.count("\n") == 1


def typed(*parts: tuple[str, bool], last: str) -> str:
    typewriter = Typewriter()
    before, text = "", ""
    for snapshot, reset in parts:
        delta = "" if reset else snapshot.removeprefix(before)
        text += typewriter.type(TextUpdate(delta, snapshot, reset))
        before = snapshot
    return text + typewriter.finish(last)


def test_what_is_said_again_after_a_reset_is_printed_once() -> None:
    parts = (("One. Two", False), ("", True), ("One.", False), ("One. Two. Three.", False))

    assert typed(*parts, last="One. Two. Three.") == "One. Two. Three."


def test_what_is_said_otherwise_after_a_reset_gets_a_paragraph_of_its_own() -> None:
    parts = (("A.\n\nOne. Two", False), ("A.", True), ("A.\n\nOne.", False), ("A.\n\nOne!", False))

    assert typed(*parts, last="A.\n\nOne!") == "A.\n\nOne. Two\n\nOne!"
    assert typed(*parts[:3], last="A.\n\nOne.") == "A.\n\nOne. Two\n\nOne."
