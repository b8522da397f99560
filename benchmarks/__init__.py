"""Benchmarks: what the library costs beside the raw openai client, in the same run."""
