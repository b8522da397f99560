"""What the overview draws over time: bars that fit, words for each, nothing where nothing was."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Inexact, localcontext

from evented_agent import MetricsSeries
from evented_agent.web.console.charts import Chart, charts_of

START = datetime(2026, 11, 28, 12, tzinfo=UTC)


def series(*stretches: Mapping[str, Mapping[str, int]]) -> MetricsSeries:
    return MetricsSeries(START, timedelta(minutes=1), START, stretches)


def chart(found: MetricsSeries, title: str, agent: str | None = None) -> Chart:
    return next(each for each in charts_of(found, agent).charts if each.title == title)


def test_a_time_in_which_nothing_was_counted_has_no_pictures() -> None:
    assert charts_of(series({}, {})).charts == []
    assert charts_of(series({"runs_failed": {"clerk": 1}}), "smith").charts == []


def test_bars_stand_on_each_other_and_never_leave_the_picture() -> None:
    busy = {"runs_finished": {"clerk": 99_999, "smith": 1}, "runs_failed": {"clerk": 1}}
    found = chart(series({}, busy, {"runs_started": {"clerk": 200_000}}), "Runs")

    assert [each.look for each in found.blocks] == ["finished", "failed"]
    finished, failed = found.blocks
    assert (finished.y + finished.height, failed.x) == (100, 11)
    assert failed.height == 3
    assert failed.y + failed.height == finished.y
    assert found.line == "5,100.00 15,100.00 25,0.00"
    assert found.top == "200k"
    assert found.summary == (
        "Runs: started 200k, finished 100k, failed 1, aborted 0; at most 200k at a time"
    )
    assert found.tips[0].said == "started 0, finished 0, failed 0, aborted 0"

    full = chart(series({"runs_finished": {"": 1000}, "runs_failed": {"": 1}}), "Runs")
    assert min(each.y for each in full.blocks) >= 0


def test_times_are_averages_with_the_longest_behind_them() -> None:
    counted = {"answer_ms": {"a": 300}, "answers": {"a": 3}, "answer_peak_ms": {"a": 250}}
    older = {"answer_ms": {"a": 4000}, "answers": {"a": 1}}
    found = chart(series(counted, older, {"retries": {"a": 1}}), "Model calls")

    assert [(each.label, each.said) for each in found.sums] == [
        ("average", "1.1 s"),
        ("longest", "4.0 s"),
    ]
    assert [each.said for each in found.tips] == [
        "average 100 ms, longest 250 ms",
        "average 4.0 s, longest 4.0 s",
        "average 0 ms, longest 0 ms",
    ]
    assert [each.look for each in found.blocks] == ["most", "most", "mean", "mean"]
    assert chart(series({"retries": {"a": 1}}), "Model calls").top == ""


def test_a_price_that_is_not_known_is_said() -> None:
    counted = {"priced_calls": {"a": 1}, "nano_usd": {"a": 20_000_000}, "input_tokens": {"a": 1}}
    known = series(counted)
    assert chart(known, "Cost").summary == "Cost: known $0.0200; at most $0.0200 at a time"
    partly = series({**counted, "unpriced_calls": {"a": 2}})
    assert [each.said for each in chart(partly, "Cost").sums] == ["$0.0200", "2"]
    # It is no zero either: where nothing is known, nothing is drawn.
    unknown = charts_of(series({"unpriced_calls": {"a": 2}, "input_tokens": {"a": 5}}))
    assert "Cost" not in [each.title for each in unknown.charts]


def test_costs_are_exact_whatever_decimals_the_process_has() -> None:
    counted = {
        "priced_calls": {"a": 1},
        "nano_usd": {"a": 123_456_780_000_000},
        "retries": {"a": 1},
    }
    with localcontext(Context(prec=3, traps=[Inexact])):
        found = chart(series(counted), "Cost")

    assert [each.said for each in found.sums] == ["$123456.78"]


def test_the_table_has_the_stretches_in_which_something_was_the_newest_first() -> None:
    found = charts_of(series({"retries": {"a": 1}}, {}, {"queue_wait_peak_ms": {"a": 1500}}))

    assert [each.start for each in found.rows] == [START + timedelta(minutes=2), START]
    assert [len(each.cells) for each in found.rows] == [len(found.heads)] * 2
    assert [[each for each in row.cells if each] for row in found.rows] == [["1.5 s"], ["1"]]
