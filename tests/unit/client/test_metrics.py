"""The text format of Prometheus, and what alerts and the documentation name of it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evented_agent import Metrics, MetricsSeries
from evented_agent.client.exposition import Family, Sample, exposition
from evented_agent.client.metrics import combined
from evented_agent.ledger.counters import COUNTERS
from tests.support.workers import ROOT

ALERTS = (ROOT / "deploy" / "alerts.yml").read_text()
PAGE = (ROOT / "docs" / "operating.md").read_text()

METRICS = Metrics(
    runs={
        "queued": {"clerk": 1, "": 0},
        "running": {"clerk": 2, "": 1},
        "suspended": {"clerk": 0, "": 0},
        "finished": {"": 3},
        "failed": {"": 4},
        "aborted": {"": 0},
    },
    idle={"clerk": 1, "": 0},
    oldest={"queued": 1.5, "running": 3600.0, "suspended": 7.25},
    overdue=0,
    workers=2,
    slots=20,
    busy=3,
    abandoned=1,
    serving={"clerk": 2},
    counters={name: {"clerk": number} for number, name in enumerate(COUNTERS, 1000)},
    last_hour={},
)
TEXT = METRICS.prometheus()
FAMILIES = dict(re.findall(r"^# TYPE (\w+) (\w+)$", TEXT, re.MULTILINE))
#: The metrics as queries name them: a summary has two.
NAMES = {re.split(r"[ {]", line)[0] for line in TEXT.splitlines() if line[0] != "#"}


def test_a_family_has_its_meaning_its_type_and_its_values() -> None:
    family = Family("runs", "gauge", "Runs.", [Sample(1, {"status": 'a"\\\n'}), Sample(0.5)])

    assert exposition([family]) == (
        "# HELP evented_agent_runs Runs.\n# TYPE evented_agent_runs gauge\n"
        'evented_agent_runs{status="a\\"\\\\\\n"} 1\nevented_agent_runs 0.5\n'
    )


def test_each_counter_is_exposed_once_with_its_value() -> None:
    values = [float(line.rpartition(" ")[2]) for line in TEXT.splitlines() if line[0] != "#"]

    for number, name in enumerate(COUNTERS, 1000):
        divisor = 10**9 if name == "nano_usd" else 1000 if name.endswith("_ms") else 1
        # How many runs finished is the count of their times as well.
        assert values.count(number / divisor) == 1 + (name == "runs_finished"), name


def test_where_nothing_is_priced_there_is_no_metric_of_costs() -> None:
    unpriced = {name: by for name, by in METRICS.counters.items() if not is_of_costs(name)}

    text = replace(METRICS, counters=unpriced).prometheus()
    assert not is_of_costs(text)
    assert is_of_costs(TEXT)


def is_of_costs(text: str) -> bool:
    return "cost" in text or "priced" in text


def test_names_follow_the_conventions() -> None:
    for name, kind in FAMILIES.items():
        assert name.startswith("evented_agent_")
        assert name.endswith("_total") == (kind == "counter"), name
    assert len(FAMILIES) == TEXT.count("# HELP ")
    assert len(FAMILIES) == len(set(FAMILIES))


def test_each_metric_of_an_alert_is_exposed() -> None:
    named = set(re.findall(r"\bevented_agent_\w+", ALERTS))

    assert len(named) > 10
    assert named - NAMES == set()


@pytest.mark.parametrize("alert", re.findall(r"alert: (\w+)", ALERTS))
def test_each_alert_has_a_line_that_says_what_to_do(alert: str) -> None:
    assert f"| `{alert}` |" in PAGE


@pytest.mark.parametrize("name", [*FAMILIES, "evented_agent_readers"])
def test_each_metric_has_a_line(name: str) -> None:
    assert re.search(rf"^\| .*`{name}`", PAGE, re.MULTILINE)


def test_several_deployments_add_up_and_the_oldest_run_is_the_oldest_of_all() -> None:
    both = combined([METRICS, METRICS])

    assert both.runs["running"] == {"clerk": 4, "": 2}
    assert (both.workers, both.slots, both.busy, both.abandoned) == (4, 40, 6, 2)
    assert both.oldest == METRICS.oldest
    assert both.counters["steps"]["clerk"] == 2 * METRICS.counters["steps"]["clerk"]
    assert both.serving == {"clerk": 4}


def test_a_series_adds_up_agents_and_takes_the_largest_of_their_peaks() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    busy = {"steps": {"clerk": 2, "": 1}, "run_peak_ms": {"clerk": 5, "smith": 9}}
    series = MetricsSeries(now, timedelta(minutes=1), now, [{}, busy])

    assert series.values("steps") == [0, 3]
    assert series.values("steps", "clerk") == [0, 2]
    assert series.values("run_peak_ms") == [0, 9]
    assert series.values("run_peak_ms", "clerk") == [0, 5]
    assert series.values("retries") == [0, 0]
