"""A deployment over time in small pictures: a bar for each minute, or each half hour."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from evented_agent.client.metrics_series import MetricsSeries
from evented_agent.models.cost import dollars, usd_of
from evented_agent.web.console.visible import count, seconds_text

#: Units of a picture: its height, and the width of one stretch and of its bar.
HEIGHT, STRETCH, _BAR = 100, 10, 8
#: What is drawn at least, where there is anything.
_LEAST = 3


@dataclass(frozen=True, slots=True)
class Sum:
    """One kind of thing in a chart.

    Attributes:
        look: How it is drawn.
        label: What it is called.
        said: All of it, in words.
        values: How much of it there was in each stretch.
    """

    look: str
    label: str
    said: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Block:
    """A bar, or a piece of one, in units of the picture."""

    x: int
    y: float
    height: float
    look: str


@dataclass(frozen=True, slots=True)
class Tip:
    """What pointing at a stretch tells."""

    x: int
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture.

    Attributes:
        title: What it is about.
        sums: What is drawn, and how much of it there was.
        top: What its full height stands for, in words; "" where there is nothing.
        blocks: What is drawn.
        tips: What each stretch was.
        line: Points of a line over the bars; "" for none.
    """

    title: str
    sums: Sequence[Sum]
    top: str
    blocks: Sequence[Block]
    tips: Sequence[Tip]
    line: str = ""

    @property
    def width(self) -> int:
        return STRETCH * len(self.tips)

    @property
    def summary(self) -> str:
        """The picture in words, for who does not see it."""
        told = ", ".join(f"{each.label} {each.said}" for each in self.sums)
        return f"{self.title}: {told}" + (f"; at most {self.top} at a time" if self.top else "")


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch in which something was counted, as a row of a table."""

    start: datetime
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Charts:
    """All pictures of a series, and the same as a table.

    Attributes:
        charts: The pictures; none where nothing was counted.
        start: When they begin.
        heads: What the columns of the table are.
        rows: Its rows, the newest first.
    """

    charts: Sequence[Chart]
    start: datetime
    heads: Sequence[str] = ()
    rows: Sequence[Row] = ()


#: Sums that are drawn on each other: title, and of each counter its look and label.
_STACKS: Sequence[tuple[str, Mapping[str, tuple[str, str]]]] = (
    (
        "Runs",
        {
            "runs_finished": ("finished", "finished"),
            "runs_failed": ("failed", "failed"),
            "runs_aborted": ("aborted", "aborted"),
        },
    ),
    (
        "Errors",
        {
            "runs_failed": ("failed", "failed runs"),
            "retries": ("retried", "retries"),
            "crashes": ("crashed", "crashes"),
        },
    ),
    ("Tokens", {"input_tokens": ("given", "in"), "output_tokens": ("answered", "out")}),
)
#: Times, the longest behind the average: title, sum, how many, the longest.
_TIMES = (
    ("Model calls", "answer_ms", "answers", "answer_peak_ms"),
    ("Runs took", "run_ms", "runs_finished", "run_peak_ms"),
    ("Waited in the queue", "queue_wait_ms", "queue_waits", "queue_wait_peak_ms"),
)
#: The columns of the table.
_COLUMNS: Mapping[str, str] = {
    "runs_started": "Started",
    "runs_finished": "Finished",
    "runs_failed": "Failed",
    "runs_aborted": "Aborted",
    "retries": "Retries",
    "crashes": "Crashes",
    "input_tokens": "Tokens in",
    "output_tokens": "Tokens out",
    "answer_peak_ms": "Longest model call",
    "run_peak_ms": "Longest run",
    "queue_wait_peak_ms": "Longest wait",
}


def charts_of(series: MetricsSeries, agent: str | None = None) -> Charts:
    """What is drawn of a series, of one agent or all."""
    rows = _rows(series, agent)
    if not rows:
        return Charts([], series.start)
    made = [_stacked(series, agent, title, kinds) for title, kinds in _STACKS]
    made += [_timed(series, agent, *names) for names in _TIMES]
    if any(series.values("priced_calls", agent)):
        made.append(_cost(series, agent))
    return Charts(made, series.start, list(_COLUMNS.values()), rows)


def _rows(series: MetricsSeries, agent: str | None) -> Sequence[Row]:
    columns = [series.values(name, agent) for name in _COLUMNS]
    shown = [_ms if name.endswith("_ms") else _number for name in _COLUMNS]
    rows = []
    for at, values in enumerate(zip(*columns, strict=True)):
        if any(values):
            cells = [
                show(value) if value else "" for show, value in zip(shown, values, strict=True)
            ]
            rows.append(Row(series.start + at * series.step, cells))
    return rows[::-1]


def _stacked(
    series: MetricsSeries, agent: str | None, title: str, kinds: Mapping[str, tuple[str, str]]
) -> Chart:
    sums = []
    for name, (look, label) in kinds.items():
        values = series.values(name, agent)
        sums.append(Sum(look, label, _number(sum(values)), values))
    begun = series.values("runs_started", agent) if title == "Runs" else ()
    top = max([*map(sum, zip(*(each.values for each in sums), strict=True)), *begun])
    blocks = list(_stack(sums, top))
    if begun:
        sums = [Sum("started", "started", _number(sum(begun)), begun), *sums]
    tips = _tips(sums, _number)
    line = _line(begun, top) if any(begun) else ""
    return Chart(title, sums, _number(top) if top else "", blocks, tips, line)


def _timed(
    series: MetricsSeries, agent: str | None, title: str, ms: str, number: str, peak: str
) -> Chart:
    times, numbers = series.values(ms, agent), series.values(number, agent)
    mean = [time / n if n else 0.0 for time, n in zip(times, numbers, strict=True)]
    most: Sequence[float] = series.values(peak, agent)
    # A worker of an older version counts no peaks.
    most = [max(pair) for pair in zip(most, mean, strict=True)]
    top, all_of_it = max(most), sum(numbers)
    said = _ms(sum(times) / all_of_it) if all_of_it else "none"
    sums = [
        Sum("mean", "average", said, mean),
        Sum("most", "longest", _ms(top) if top else "none", most),
    ]
    blocks = [each for one in reversed(sums) for each in _stack([one], top)]
    return Chart(title, sums, _ms(top) if top else "", blocks, _tips(sums, _ms))


def _cost(series: MetricsSeries, agent: str | None) -> Chart:
    values = series.values("nano_usd", agent)
    unknown = sum(series.values("unpriced_calls", agent))
    top = max(values)
    sums = [Sum("cost", "known", _usd(sum(values)), values)]
    blocks, tips = list(_stack(sums, top)), _tips(sums, _usd)
    if unknown:
        sums.append(Sum("unknown", "calls of unknown price", _number(unknown), ()))
    return Chart("Cost", sums, _usd(top) if top else "", blocks, tips)


def _stack(sums: Sequence[Sum], top: float) -> Iterator[Block]:
    """Bars whose pieces stand on each other."""
    if not top:
        return
    for at, values in enumerate(zip(*(each.values for each in sums), strict=True)):
        heights = [max(_LEAST, HEIGHT * value / top) if value else 0.0 for value in values]
        # What is small is seen, whatever is large.
        scale = min(1.0, HEIGHT / (sum(heights) or 1.0))
        ends = accumulate(height * scale for height in heights)
        for each, height, end in zip(sums, heights, ends, strict=True):
            if height:
                y = round(HEIGHT - end, 2)
                yield Block(STRETCH * at + 1, y, round(height * scale, 2), each.look)


def _line(values: Sequence[float], top: float) -> str:
    half = STRETCH / 2
    return " ".join(
        f"{STRETCH * at + half:g},{HEIGHT - HEIGHT * value / top:.2f}"
        for at, value in enumerate(values)
    )


def _tips(sums: Sequence[Sum], show: Callable[[float], str]) -> Sequence[Tip]:
    """What each stretch was; the page tells when, since it knows the reader's time."""
    stretches = zip(*(each.values for each in sums), strict=True)
    return [
        Tip(
            STRETCH * at,
            ", ".join(f"{s.label} {show(v)}" for s, v in zip(sums, values, strict=True)),
        )
        for at, values in enumerate(stretches)
    ]


def _number(value: float) -> str:
    return count(int(value))


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else seconds_text(value / 1000)


def _usd(nano: float) -> str:
    return dollars(usd_of(int(nano)))
