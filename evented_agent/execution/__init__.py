"""One attempt of one task, as a coroutine.  Does not import Celery."""
