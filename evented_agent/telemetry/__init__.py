"""Spans and metrics of runs for OpenTelemetry, in processes where that is configured."""
