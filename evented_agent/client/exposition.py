"""The text format of Prometheus.  Does not know what is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: What the format is called in HTTP.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: What the names of all metrics begin with.
_PREFIX = "evented_agent_"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, with its labels; *suffix* is that of a part of a summary."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, its type, what it means, its values."""

    name: str
    type: str
    help: str
    samples: Sequence[Sample]


def exposition(families: Sequence[Family]) -> str:
    """The families as text, one line a value."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> list[str]:
    name = f"{_PREFIX}{family.name}"
    head = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.type}"]
    return head + [
        f"{name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}"
        for sample in family.samples
    ]


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
