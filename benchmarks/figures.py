"""Figures: printed as they come, the wanted one beside, and kept as numbers for a file."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: From this many samples on there is a p99; of fewer the worst is told.
ENOUGH = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: *value* is the median where there are several samples."""

    benchmark: str
    name: str
    value: float
    unit: str
    samples: int = 1
    p99: float | None = None
    worst: float | None = None
    wanted: str = ""
    note: str = ""

    def __str__(self) -> str:
        spread = ""
        if self.p99 is not None:
            spread = f"p99 {readable(self.p99)}"
        elif self.worst is not None:
            spread = f"worst {readable(self.worst)}"
        value = f"{readable(self.value)} {self.unit}"
        line = f"{self.name:<50} {value:>16}  {spread:<14} {self.wanted:<20} {self.note}"
        return line.rstrip()


@dataclass
class Report:
    """Takes figures of one benchmark after the other."""

    figures: list[Figure] = field(default_factory=list)
    benchmark: str = ""

    def value(
        self, name: str, value: float, unit: str, *, wanted: str = "", note: str = ""
    ) -> None:
        self._add(Figure(self.benchmark, name, value, unit, wanted=wanted, note=note))

    def samples(
        self,
        name: str,
        values: Sequence[float],
        unit: str,
        *,
        wanted: str = "",
        note: str = "",
        is_rate: bool = False,
    ) -> None:
        """Add the median of *values* with their p99; of a rate, low is bad."""
        count = len(values)
        ordered = sorted(values, reverse=is_rate)
        self._add(
            Figure(
                self.benchmark,
                name,
                statistics.median(ordered),
                unit,
                samples=count,
                p99=ordered[math.ceil(count * 0.99) - 1] if count >= ENOUGH else None,
                worst=ordered[-1],
                wanted=wanted,
                note=note,
            )
        )

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(figure) for figure in self.figures]

    def _add(self, figure: Figure) -> None:
        self.figures.append(figure)
        print(figure, flush=True)


def ms(seconds: Sequence[float]) -> list[float]:
    return [second * 1e3 for second in seconds]


def readable(value: float) -> str:
    """Three digits or so."""
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}"
