"""The Celery app, configured from celeryconfig.py."""

from celery import Celery

app = Celery("tasks", include=["tasks.agents"])
app.config_from_object("celeryconfig")
