"""The shared agents on an app whose settings are all against them."""

from tests.support.agents import SHARED
from tests.support.deployment import make_app, serve

app = make_app("tests.engines.hostile_app")
app.conf.update(
    task_annotations={"*": {"rate_limit": "1/h", "acks_late": True, "max_retries": 9}},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=2,
    task_soft_time_limit=1,
    task_serializer="pickle",
    task_default_rate_limit="1/h",
    task_store_errors_even_if_ignored=True,
    result_backend="redis://127.0.0.1:1/0",
    accept_content=["pickle", "json"],
)
evented = serve(app, *SHARED)
