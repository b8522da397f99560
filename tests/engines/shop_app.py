"""An application with tasks of its own beside its agents."""

from typing import Any

from tests.engines.shop import clerk
from tests.support.agents import SHARED
from tests.support.deployment import make_app, serve

app = make_app("tests.engines.shop_app")
app.conf.worker_log_format = (
    "%(levelname)s|%(name)s|%(run_id)s|%(task)s|%(agent)s|%(attempt)s|%(message)s"
)
evented = serve(app, *SHARED, clerk)


@app.task(name="shop.wait")
def wait_for_run(how: str) -> str:
    """Do what nobody should in a worker that executes runs."""
    hello: Any = evented["hello"]
    if how == "generate":
        return str(hello.generate("Hi").text)
    run = hello.stream("Hi")
    return str(run.result().text if how == "result" else [chunk.type for chunk in run])
