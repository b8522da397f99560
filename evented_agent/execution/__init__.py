"""One attempt of one task, as a coroutine.  Knows neither Celery nor HTTP."""
