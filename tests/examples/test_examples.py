"""The three examples as their READMEs start them: what each promises, over real HTTP."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import httpx
import pytest

from evented_agent import Runs
from tests.examples.model_server import Call, ModelServer, held
from tests.examples.sites import Shop, Site, text_of, until_text


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
    reply = site.client.get("/runs/nobody/events")

    assert reply.status_code == 404
    assert "nobody" in reply.text


def test_another_visitors_run_is_not_found(site: Site, model: ModelServer, question: str) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)

    with httpx.Client(base_url=site.client.base_url, trust_env=False, timeout=20) as stranger:
        assert stranger.get(f"/runs/{run_id}/events").status_code == 404
    assert text_of(site.read(run_id)) == "Yes."


def test_another_visitor_changes_nothing(
    fastapi_site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = fastapi_site.ask(question)
    fastapi_site.read(run_id)

    with httpx.Client(
        base_url=fastapi_site.client.base_url,
        trust_env=False,
        timeout=20,
        cookies={"visitor": "me"},
    ) as stranger:
        assert stranger.get(f"/runs/{run_id}").status_code == 404
        assert stranger.post(f"/runs/{run_id}/abort").status_code == 404
        assert stranger.delete(f"/runs/{run_id}").status_code == 404
    assert fastapi_site.client.get(f"/runs/{run_id}").json()["status"] == "finished"


def test_a_reader_that_has_all_is_told_to_come_no_more(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)
    events = site.read(run_id)

    for cursor in (events[-1].id, str(len(events))):
        reply = site.client.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": cursor})
        assert (reply.status_code, reply.content) == (204, b"")
    assert site.read(run_id, events[-2].id) == events[-1:]


@pytest.mark.parametrize("cursor", ["yesterday", "-1", "1-x", "²", "9" * 30])
def test_what_is_no_cursor_is_refused(
    site: Site, model: ModelServer, question: str, cursor: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)

    assert site.client.get(f"/runs/{run_id}/events", params={"after": cursor}).status_code == 400
    assert len(site.read(run_id, "0")) > 0


# FastAPI alone ------------------------------------------------------------------------------------


def test_a_silent_stream_shows_signs_of_life(
    fastapi_site: Site, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, [gate, "At last."])
    path = f"/runs/{fastapi_site.ask(question)}/events"

    with held(gate), fastapi_site.client.stream("GET", path) as reply:
        beat = next(line for line in reply.iter_lines() if line.startswith(":"))

    assert beat == ": hb"


def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it_back(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])

    headers = site.client.get(f"/runs/{site.ask(question)}/events").headers

    assert headers["content-type"].partition(";")[0] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"


def test_a_run_is_looked_at_aborted_and_deleted_by_its_id(
    fastapi_site: Site, model: ModelServer, question: str
) -> None:
    client, gate = fastapi_site.client, threading.Event()
    model.answers(question, ["Well, ", gate])
    run_id = fastapi_site.ask(question)

    with held(gate), fastapi_site.reading(run_id) as events:
        until_text(events, "Well, ")
        assert client.get(f"/runs/{run_id}").json()["status"] == "running"
        assert client.post(f"/runs/{run_id}/abort").json() == {"aborted": True}
        assert list(events)[-1].type == "abort"

    assert client.post(f"/runs/{run_id}/abort").json() == {"aborted": False}
    assert client.get(f"/runs/{run_id}").json()["status"] == "aborted"
    assert client.delete(f"/runs/{run_id}").status_code == 204
    assert client.get(f"/runs/{run_id}").status_code == 404
    assert client.get(f"/runs/{run_id}/events").status_code == 404
    assert client.delete("/runs/nobody").status_code == 404


def test_a_run_whose_chunks_have_expired_is_gone_though_its_record_is_not(
    site: Site, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Yes."])
    run_id = site.ask(question)
    site.read(run_id)

    runs = Runs(site.redis_url)
    runs.ledger.client().delete(runs.keys.of(run_id).topic)

    assert site.client.get(f"/runs/{run_id}/events").status_code == 410
    assert runs.get(run_id).status == "finished"
    runs.ledger.close()


def test_the_page_names_every_event_that_it_must_handle(fastapi_site: Site) -> None:
    page = fastapi_site.client.get("/").text

    for event in ("text-delta", "step-reset", "topic-reset", "finish", "error", "abort"):
        assert f'"{event}":' in page


# Django alone -------------------------------------------------------------------------------------


def test_a_rolled_back_transaction_starts_no_run(
    django_site: Shop, shop_database: Path, question: str
) -> None:
    runs = Runs(django_site.redis_url)
    before = len(runs.list(limit=100))

    declined = django_site.order(question, quantity=101)

    assert declined.status_code == 402
    assert len(runs.list(limit=100)) == before
    with contextlib.closing(sqlite3.connect(shop_database)) as database:
        stored = database.execute("SELECT * FROM orders_order WHERE item = ?", [question])
        assert stored.fetchall() == []
    runs.ledger.close()


def test_a_committed_order_has_a_run_whose_tool_reads_the_row(
    django_site: Shop, model: ModelServer, question: str
) -> None:
    model.answers(question, [Call("order_details")], ["Thank you for your order."])

    ordered = django_site.order(question, quantity=3).json()
    events = django_site.read(ordered["run_id"])

    [result] = [e.data["payload"]["result"] for e in events if e.type == "tool-result"]
    assert result == {"number": ordered["order"], "item": question, "quantity": 3}
    assert text_of(events) == "Thank you for your order."


def test_what_is_no_order_is_refused(django_site: Shop) -> None:
    assert django_site.order("", quantity=1).status_code == 400
    assert django_site.client.post("/orders", content=b"tea").status_code == 400


# Flask alone --------------------------------------------------------------------------------------


def test_what_is_no_question_is_refused(flask_site: Site) -> None:
    assert flask_site.client.post("/runs", json={"message": ""}).status_code == 400
    assert flask_site.client.post("/runs", content=b"tea").status_code == 400
