"""This repository's deployable Celery application: ``celery -A tasks worker``."""

from tasks.celery import app

__all__ = ["app"]
