"""The ledger: the only writer of runs.  Knows Redis, but neither Celery nor models."""
