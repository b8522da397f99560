"""What a worker logs says which run it is about, and no more than it has to."""

import logging
import re
from typing import Any

import pytest

from evented_agent import EventedAgent, RunFailed, create_durable_agent
from evented_agent.logs import RunFields, begin_work, current_work
from tests.conftest import StartWorker
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.engines.shop_app"


@pytest.fixture(params=["threads", "prefork"])
def worker(start_worker: StartWorker, request: pytest.FixtureRequest) -> WorkerProcess:
    return start_worker(app="tests.engines.shop_app", pool=request.param, queue="agents,celery")


def lines_of(worker: WorkerProcess, run_id: str) -> list[list[str]]:
    """The lines of the log that are about a run: level, logger, four fields, message."""
    found = [line.split("|", 6) for line in worker.text().splitlines() if line.count("|") >= 6]
    return [line for line in found if run_id in line[2] or run_id in line[6]]


def test_each_line_of_ours_and_of_a_tool_names_its_run(
    agents: dict[str, EventedAgent], worker: WorkerProcess
) -> None:
    run = agents["clerk"].stream('price {"of": "tea"}\nstock {"of": "milk"}')
    run.result(30)
    wait_until(lambda: "finished (" in worker.text(), "the end is logged")

    lines = lines_of(worker, run.run_id)
    said = {line[6]: line[2:6] for line in lines if line[1] == "shop"}
    assert said["looking up tea"][0] == said["counting milk"][0] == run.run_id
    assert re.fullmatch("1:tool:.+", said["looking up tea"][1])
    assert said["looking up tea"][2:] == said["counting milk"][2:] == ["clerk", "1"]
    assert said["telling the shop"][:3] == [run.run_id, "2:end", "clerk"]
    ours = [line for line in lines if line[1].startswith("evented_agent")]
    assert [line[6] for line in ours] == [
        f"Run {run.run_id} of agent clerk started",
        f"Run {run.run_id} of agent clerk finished (stop)",
    ]
    assert all(line[2] == run.run_id and line[4] == "clerk" for line in ours)
    assert "KeyError" not in worker.text()


def test_a_task_has_one_line_and_a_handled_error_no_traceback(
    agents: dict[str, EventedAgent], worker: WorkerProcess
) -> None:
    run = agents["toolbox"].stream('broken\nadd {"a": 1, "b": 2}')
    run.result(30)
    wait_until(
        lambda: "finished (" in worker.text() and "no such luck" in worker.text(),
        "the end of the run and of the tool are logged",
    )

    celerys = [line for line in lines_of(worker, run.run_id) if line[1].startswith("celery")]
    ids = [re.search(rf"{run.run_id}:\S+:\d+", line[6]) for line in celerys]
    names = [found[0] for found in ids if found is not None]
    assert len(names) == len(celerys) == len(set(names))
    assert {line[0] for line in lines_of(worker, run.run_id)} == {"INFO"}
    assert "Traceback" not in worker.text()


def test_a_failed_run_is_an_error_with_its_reason(
    agents: dict[str, EventedAgent], worker: WorkerProcess
) -> None:
    run = agents["failing"].stream("Try.")
    with pytest.raises(RunFailed):
        run.result(30)

    def told() -> list[list[str]]:
        return [line for line in lines_of(worker, run.run_id) if "evented_agent" in line[1]]

    wait_until(lambda: len(told()) > 1, "the failure is logged")
    assert told()[-1][0] == "ERROR"
    assert "of agent failing failed: ModelError: out of credit" in told()[-1][6]


def test_an_aborted_run_is_told(agents: dict[str, EventedAgent], worker: WorkerProcess) -> None:
    run = agents["speaker"].stream("Talk.")
    next(iter(run.text_parts()))
    run.abort("enough")

    wait_until(
        lambda: f"Run {run.run_id} of agent speaker was aborted: enough" in worker.text(),
        "the abort is logged",
    )


def test_variables_of_one_call_are_not_seen_by_another(
    agents: dict[str, EventedAgent], worker: WorkerProcess
) -> None:
    for _ in range(3):
        run = agents["clerk"].stream('stock {"of": "milk"}\nprice {"of": "tea"}')
        run.result(30)
        [step, _] = run.result().steps
        assert [result.result for result in step.results] == ["nothing", "nothing"]


def test_variables_of_one_call_are_not_seen_by_another_in_process(
    redis_server: RedisServer, environment: dict[str, str]
) -> None:
    from tests.engines import shop

    token = shop.seen.set("the caller's")
    durable = create_durable_agent(shop.clerk, redis_url=redis_server.url)
    for _ in range(3):
        run = durable.stream('stock {"of": "milk"}\nprice {"of": "tea"}')
        run.result(30)
        [step, _] = run.result().steps
        assert [result.result for result in step.results] == ["nothing", "nothing"]
    shop.seen.reset(token)
    durable.close()


def test_a_failing_tool_is_no_error_in_process_either(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.support.agents import toolbox

    durable = create_durable_agent(toolbox, redis_url=redis_server.url)
    with caplog.at_level(logging.INFO):
        run_id = durable.stream("broken").result(20).run_id
    durable.close()

    mine: list[Any] = [record for record in caplog.records if "evented_agent" in record.name]
    about = [record for record in mine if record.run_id == run_id]
    assert {record.levelname for record in about} == {"INFO"}
    assert not any(record.exc_info for record in about)
    assert [record.agent for record in about] == ["toolbox"] * len(about)


def test_the_filter_leaves_what_a_record_has_and_costs_nothing_elsewhere() -> None:
    record = logging.makeLogRecord({"run_id": "mine"})
    RunFields().filter(record)
    fields = vars(record)
    assert [fields[name] for name in ("run_id", "task", "agent", "attempt")] == ["mine", *"---"]
    assert current_work() is None

    import contextvars

    def inside() -> logging.LogRecord:
        begin_work("r", "1:model", "clerk", 2)
        made = logging.makeLogRecord({})
        RunFields(missing=None).filter(made)
        return made

    found = vars(contextvars.copy_context().run(inside))
    assert (found["run_id"], found["attempt"]) == ("r", 2)
