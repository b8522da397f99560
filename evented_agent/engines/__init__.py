"""Where runs execute: Celery workers, or this process."""
