"""A Celery app with a broker and nothing else, for programs that bring their own workers."""

from celery import Celery


def simple_app(name: str, broker_url: str) -> Celery:
    """Return an app named *name* on *broker_url*; it does not become the process's current app."""
    app = Celery(name, set_as_current=False)
    app.conf.update(
        broker_url=broker_url,
        # Said explicitly, because Celery warns where it is not.
        broker_connection_retry_on_startup=True,
        # A worker takes what it can work on; the rest is for the others.
        worker_prefetch_multiplier=1,
    )
    return app
