"""The Django project."""

# Loaded with Django, so that views and workers have the same Celery app.
from shop.celery import app as celery_app

__all__ = ["celery_app"]
