"""Stream tokens: what they open, for whom, and how long."""

import pytest

from evented_agent import ConfigurationError, InProcessAgent
from evented_agent.web import create_app
from tests.http.conftest import KEY, Serve, Served, authorize
from tests.http.requests import call, read, start, until


def test_a_token_opens_the_stream_of_its_run_and_no_other(served: Served) -> None:
    ann, nobody = served.as_("ann"), served.as_("")
    run_id, other = start(ann, "say One."), start(ann, "say Two.")
    read(ann, other)
    made = ann.post(f"/runs/{run_id}/token").json()
    token = {"token": made["token"]}

    assert made["expires_in"] == 300
    assert nobody.get(f"/runs/{run_id}/stream", params=token).status_code == 200
    assert nobody.get(f"/runs/{run_id}", params=token).status_code == 200
    assert nobody.get(f"/runs/{other}/stream", params=token).status_code == 404
    assert nobody.get("/runs", params=token).status_code == 401
    assert nobody.post(f"/runs/{run_id}/abort", params=token).status_code == 401
    assert nobody.get(f"/runs/{run_id}", params={"token": "x" + made["token"]}).status_code == 401
    assert nobody.get(f"/runs/{run_id}", params={"token": ""}).status_code == 401
    # A token that makes another one would live for ever.
    assert nobody.post(f"/runs/{run_id}/token", params=token).status_code == 403


def test_a_token_to_act_decides_under_the_name_of_who_made_it(served: Served) -> None:
    ann, nobody = served.as_("ann"), served.as_("")
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")
    token = {"token": ann.post(f"/runs/{run_id}/token", json={"may": "act"}).json()["token"]}

    assert nobody.delete(f"/runs/{run_id}", params=token).status_code == 401
    assert nobody.post(f"/runs/{run_id}/approve", params=token).status_code == 200
    assert until(ann, run_id, "finished")["decisions"][0]["by"] == "Ann"


def test_a_token_for_a_conversation_opens_its_runs(served: Served) -> None:
    ann, nobody = served.as_("ann"), served.as_("")
    inside, outside = start(ann, "say In.", thread_id="tea"), start(ann, "say Out.")
    token = {"token": ann.post("/threads/tea/token").json()["token"]}

    assert nobody.get(f"/runs/{inside}/stream", params=token).status_code == 200
    assert nobody.get(f"/runs/{outside}/stream", params=token).status_code == 404
    assert nobody.get("/threads/tea", params=token).status_code == 200
    assert nobody.get("/threads/coffee", params=token).status_code == 401
    assert served.as_("bob").get("/threads/tea").json() == {"messages": []}


def test_a_service_makes_tokens_for_one_person_at_a_time(served: Served) -> None:
    service, nobody = served.as_("service"), served.as_("")
    theirs = start(served.as_("bob"), "say Hi.", thread_id="both")
    mine = start(served.as_("ann"), "say Hi.", thread_id="both")

    assert service.post("/threads/both/token").status_code == 400
    made = service.post("/threads/both/token", params={"resource_id": "ann"}).json()
    token = {"token": made["token"]}
    assert nobody.get(f"/runs/{mine}", params=token).status_code == 200
    assert nobody.get(f"/runs/{theirs}", params=token).status_code == 404


def test_keys_are_rotated_and_a_key_that_is_too_short_is_refused(
    durable: InProcessAgent, served: Served, serve: Serve
) -> None:
    ann = served.as_("ann")
    run_id = start(ann, "say Hi.")
    token = {"token": ann.post(f"/runs/{run_id}/token").json()["token"]}
    new = "another key of enough characters"
    rotated = serve(create_app(durable.client, authorize=authorize, token_keys=[new, KEY]))
    later = serve(create_app(durable.client, authorize=authorize, token_keys=[new]))
    made = rotated.as_("ann").post(f"/runs/{run_id}/token").json()["token"]

    def status(at: Served, value: str) -> int:
        return at.as_("").get(f"/runs/{run_id}", params={"token": value}).status_code

    assert status(rotated, token["token"]) == 200
    assert status(later, token["token"]) == 401
    assert status(later, made) == 200
    with pytest.raises(ConfigurationError, match="token_urlsafe"):
        create_app(durable.client, authorize=authorize, token_keys=["short"])


def test_there_are_no_tokens_without_a_key(durable: InProcessAgent, serve: Serve) -> None:
    client = serve(create_app(durable.client, authorize=authorize)).as_("ann")
    run_id = start(client, "say Hi.")

    reply = client.post(f"/runs/{run_id}/token")

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_stream_tokens")
    assert client.get(f"/runs/{run_id}", params={"token": "x"}).status_code == 401


def test_a_token_is_not_in_the_access_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    ann = served.as_("ann")
    run_id = start(ann, "say Hi.")
    token = ann.post(f"/runs/{run_id}/token").json()["token"]
    caplog.set_level("INFO", logger="uvicorn.access")

    query = {"after": "0", "token": token}
    assert served.as_("").get(f"/runs/{run_id}/stream", params=query).status_code == 200

    logged = [record.getMessage() for record in caplog.records if "/stream" in record.getMessage()]
    assert logged
    assert token not in "".join(logged)
