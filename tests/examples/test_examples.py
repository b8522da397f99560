"""Each example as its README starts it: what it promises, over real HTTP."""

import contextlib
import json
import sqlite3
import threading
from uuid import uuid4

import httpx
import pytest

from evented_agent import Runs
from tests.examples.model_server import Call, ModelServer, held
from tests.examples.sites import EXAMPLES, Site, sign_in, stream_of, text_of, until_text

# The first test of each server starts it.
pytestmark = pytest.mark.timeout(300)


def test_a_run_is_started_before_the_model_answers(
    site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, [gate, "Good ", "morning."])

    with held(gate):
        run_id = site.ask(question)

    assert text_of(site.read(run_id)) == "Good morning."


def test_events_come_in_order_and_their_ids_are_cursors(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["One ", "two ", "three."])

    events = site.read(site.ask(question))

    assert [e.data["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e.id.partition("-")[0] for e in events] == [str(e.data["seq"]) for e in events]
    assert [e.type for e in events] == [e.data["type"] for e in events]
    assert (events[0].type, events[-1].type) == ("start", "finish")


def test_text_arrives_while_the_model_is_still_writing(
    site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["First ", gate, "last."])

    with held(gate), site.reading(site.ask(question)) as events:
        until_text(events, "First ")
        gate.set()
        assert text_of(list(events)) == "last."


def test_a_dropped_reader_gets_exactly_what_it_missed(
    site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["One ", "two ", gate, "three ", "four."])
    run_id = site.ask(question)

    with held(gate), site.reading(run_id) as events:
        before = until_text(events, "two ")
    after = site.read(run_id, before[-1].id)

    assert before + after == site.read(run_id)
    assert text_of(before + after) == "One two three four."


def test_every_reader_sees_the_same_whenever_it_comes(
    site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["Tea ", gate, "is a plant."])
    run_id = site.ask(question)

    with held(gate), site.reading(run_id) as early, site.reading(run_id) as second:
        seen = until_text(early, "Tea ")
        seen_too = until_text(second, "Tea ")
        gate.set()
        seen += early
        seen_too += second

    assert seen == seen_too == site.read(run_id)


def test_a_killed_web_server_costs_its_readers_nothing(
    site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["Before, ", gate, "during ", "and after."])
    run_id = site.ask(question)

    with held(gate), contextlib.suppress(httpx.TransportError), site.reading(run_id) as events:
        seen = until_text(events, "Before, ")
        site.web.kill()
        seen += events
    site.restart_web()

    seen += site.read(run_id, seen[-1].id)
    assert seen == site.read(run_id)
    assert text_of(seen) == "Before, during and after."


def test_an_unknown_run_is_not_found(site: Site) -> None:
    assert site.client.get(stream_of("nobody")).status_code == 404


def test_another_users_run_is_not_found_and_not_changed(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)
    site.read(run_id)

    for user, status in (("bob", 404), ("", 401)):
        other = site.as_(user)
        assert other.get(stream_of(run_id)).status_code == status
        assert other.get(f"/agents/runs/{run_id}").status_code == status
        assert other.post(f"/agents/runs/{run_id}/abort").status_code == status
        assert other.delete(f"/agents/runs/{run_id}").status_code == status
    assert site.client.get(f"/agents/runs/{run_id}").json()["status"] == "finished"
    assert text_of(site.read(run_id)) == "Yes."


def test_a_reader_that_has_all_is_told_to_come_no_more(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)
    events = site.read(run_id)

    for cursor in (events[-1].id, str(len(events))):
        reply = site.client.get(stream_of(run_id), headers={"Last-Event-ID": cursor})
        assert (reply.status_code, reply.content) == (204, b"")
    assert site.read(run_id, events[-2].id) == events[-1:]


@pytest.mark.parametrize("cursor", ["yesterday", "-1", "1-x", "²", "9" * 30])
def test_what_is_no_cursor_is_refused(
    site: Site, model: ModelServer, question: str, cursor: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)

    assert site.client.get(stream_of(run_id), params={"after": cursor}).status_code == 400
    assert len(site.read(run_id, "0")) > 0


def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it_back(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])

    headers = site.client.get(stream_of(site.ask(question))).headers

    assert headers["content-type"].partition(";")[0] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"


def test_a_run_is_looked_at_aborted_and_deleted_by_its_id(
    site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["Well, ", gate, "never mind."])
    client, run_id = site.client, site.ask(question)
    url = f"/agents/runs/{run_id}"

    with held(gate), site.reading(run_id) as events:
        until_text(events, "Well, ")
        assert client.get(url).json()["status"] == "running"
        assert client.post(f"{url}/abort").json()["aborted"] is True
        assert list(events)[-1].type == "abort"

    assert client.post(f"{url}/abort").json()["aborted"] is False
    assert client.get(url).json()["status"] == "aborted"
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.get(stream_of(run_id)).status_code == 404
    assert client.delete("/agents/runs/nobody").status_code == 404


def test_a_run_whose_chunks_have_expired_is_gone_though_its_record_is_not(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)
    site.read(run_id)

    runs = Runs(site.redis_url)
    runs.ledger.client().delete(runs.keys.of(run_id).topic)

    assert site.client.get(stream_of(run_id)).status_code == 410
    assert runs.get(run_id).status == "finished"
    runs.ledger.close()


def test_what_is_no_question_is_refused(site: Site) -> None:
    for sent in (b'{"agent": "assistant", "input": ""}', b'{"agent": "assistant"}', b"tea"):
        headers = {"content-type": "application/json"}
        reply = site.client.post("/agents/runs", content=sent, headers=headers)
        assert reply.status_code == 400, sent


def test_all_examples_serve_the_same_page(site: Site) -> None:
    page = (EXAMPLES / "fastapi_app/page.html").read_text()

    assert site.as_("").get("/").text == page


@pytest.mark.parametrize(
    ("user", "password"), [("ann", "coffee"), ("ann", "té"), ("nobody", "tea"), ("nobody", " ")]
)
def test_a_wrong_password_signs_nobody_in(site: Site, user: str, password: str) -> None:
    with httpx.Client(base_url=site.client.base_url, trust_env=False, timeout=20) as stranger:
        stranger.headers["origin"] = str(stranger.base_url)
        assert sign_in(stranger, user, password).headers["location"] == "/?refused"
        assert stranger.get("/me").status_code == 401
        assert stranger.get("/agents/runs").status_code == 401


def test_who_signs_out_is_nobody(site: Site) -> None:
    with httpx.Client(base_url=site.client.base_url, trust_env=False, timeout=20) as guest:
        guest.headers["origin"] = str(guest.base_url)
        sign_in(guest, "bob", "coffee")
        assert guest.get("/me").json() == {"user": "bob"}
        assert guest.get("/agents/runs").status_code == 200
        guest.post("/logout")
        assert guest.get("/agents/runs").status_code == 401


def test_a_page_of_another_origin_changes_nothing(site: Site) -> None:
    foreign = {"origin": "https://evil.example"}
    body = {"agent": "assistant", "input": "Pay me."}

    assert site.client.post("/agents/runs", json=body, headers=foreign).status_code == 403


# Django alone -------------------------------------------------------------------------------------

django_alone = pytest.mark.parametrize("site", ["django-asgi", "django-wsgi"], indirect=True)


def order(site: Site, item: str, quantity: int = 2) -> httpx.Response:
    return site.client.post("/orders", json={"item": item, "quantity": quantity})


@django_alone
def test_a_rolled_back_transaction_starts_no_run(site: Site, question: str) -> None:
    runs = Runs(site.redis_url)
    before = len(runs.list(limit=100))

    declined = order(site, question, quantity=101)

    assert declined.status_code == 402
    assert len(runs.list(limit=100)) == before
    stored = "SELECT * FROM orders_order WHERE item = ?"
    with contextlib.closing(sqlite3.connect(site.folder / "db.sqlite3")) as database:
        assert database.execute(stored, [question]).fetchall() == []
    runs.ledger.close()


@django_alone
def test_a_committed_order_has_a_run_in_a_conversation_of_its_own(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Thank you for your order."])

    ordered = order(site, question, quantity=3).json()

    assert text_of(site.read(ordered["run_id"])) == "Thank you for your order."
    found = site.client.get("/agents/runs", params={"thread_id": f"order-{ordered['order']}"})
    assert [run["run_id"] for run in found.json()["runs"]] == [ordered["run_id"]]


@django_alone
def test_a_tool_reads_the_rows_of_who_asks_alone(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Thank you for your order."])
    number = order(site, question, quantity=3).json()["order"]
    asked = uuid4().hex
    model.answers(asked, [Call("order_details", json.dumps({"order": number}))], ["Here it is."])

    mine = site.read(site.ask(asked))
    body = {"agent": "assistant", "input": asked}
    theirs = site.as_("bob").post("/agents/runs", json=body).json()["run_id"]
    told = site.as_("bob").get(stream_of(theirs)).text

    [result] = [e.data["payload"]["result"] for e in mine if e.type == "tool-result"]
    assert result == {"number": number, "item": question, "quantity": 3}
    assert "event: tool-error" in told
    assert question not in told.partition("event: tool-error")[2]


@django_alone
def test_what_is_no_order_is_refused(site: Site) -> None:
    assert order(site, "", quantity=1).status_code == 400
    assert site.client.post("/orders", content=b"tea").status_code == 400
    assert site.as_("").post("/orders", json={}).status_code in (401, 403)
    without = {"x-csrftoken": ""}
    assert site.client.post("/orders", json={}, headers=without).status_code == 403
