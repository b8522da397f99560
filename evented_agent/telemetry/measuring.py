"""The metrics of the GenAI conventions, as instruments of OpenTelemetry."""

from collections.abc import Mapping

from opentelemetry import metrics

from evented_agent.telemetry import conventions as names
from evented_agent.telemetry.conventions import Attributes

_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_INFERENCE = "gen_ai.client.inference"
_MODALITY = "gen_ai.token.modality"
#: Counters of tokens; those of sound are told apart by their modality.
_COUNTED = (
    "input_tokens",
    "output_tokens",
    "cache_read.input_tokens",
    "cache_write.input_tokens",
    "reasoning.output_tokens",
)


class Instruments:
    """Made once for each meter provider."""

    def __init__(self, provider: metrics.MeterProvider) -> None:
        self.provider = provider
        meter = provider.get_meter("evented_agent")
        self._duration = self._seconds(meter, f"{_INFERENCE}.duration", "Duration of a model call.")
        self._first_chunk = self._seconds(
            meter, f"{_INFERENCE}.time_to_first_chunk", "Time until a model's answer begins."
        )
        self.tool_duration = self._seconds(
            meter, "gen_ai.execute_tool.duration", "Duration of a tool call."
        )
        self._tokens = {
            name: meter.create_counter(
                f"{_INFERENCE}.usage.{name}", unit="{token}", description="Tokens used."
            )
            for name in _COUNTED
        }

    def model_call(
        self,
        seconds: float,
        first: float | None,
        usage: Mapping[str, int] | None,
        about: Attributes,
    ) -> None:
        """Record one call, also one that failed; *about* has its error then."""
        self._duration.record(seconds, about)
        plain = {name: value for name, value in about.items() if name != names.ERROR}
        if first is not None:
            self._first_chunk.record(first, plain)
        for name, count in by_modality(usage or {}):
            kind, modality = name
            self._tokens[kind].add(count, {**plain, _MODALITY: modality})

    @staticmethod
    def _seconds(meter: metrics.Meter, name: str, description: str) -> metrics.Histogram:
        return meter.create_histogram(
            name,
            unit="s",
            description=description,
            explicit_bucket_boundaries_advisory=_SECONDS,
        )


def by_modality(usage: Mapping[str, int]) -> list[tuple[tuple[str, str], int]]:
    """Counts by counter and modality: sound where it is known to be, the rest unknown.

    Without any usage, both totals are 0, as the conventions ask of calls that failed.
    """
    found: list[tuple[tuple[str, str], int]] = []
    for name in _COUNTED:
        total = usage.get(name, 0)
        sound = min(usage.get(f"audio.{name}", 0), total)
        if sound:
            found.append(((name, "audio"), sound))
        if total > sound or name in ("input_tokens", "output_tokens"):
            found.append(((name, "unknown"), total - sound))
    return found


_instruments: Instruments | None = None


def instruments() -> Instruments:
    """The instruments of the meter provider of now."""
    global _instruments  # noqa: PLW0603 - there is one provider in a process
    provider = metrics.get_meter_provider()
    if _instruments is None or _instruments.provider is not provider:
        _instruments = Instruments(provider)
    return _instruments
