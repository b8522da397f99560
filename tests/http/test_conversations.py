"""Conversations over HTTP: listed, named, forgotten, followed."""

from typing import Any

import httpx
import pytest

from tests.http.requests import read, start, until, until_type


def test_conversations_are_listed_named_and_forgotten(ann: httpx.Client) -> None:
    for name in ("one 7", "two"):
        until(ann, start(ann, f"say {name}.", thread_id=name), "finished")
    [newest] = ann.get("/threads", params={"limit": 1}).json()["threads"]
    assert (newest["thread_id"], newest["last_message"]) == ("two", "two.")
    page = ann.get("/threads", params={"limit": 1}).json()["next_page"]
    [following] = ann.get("/threads", params={"limit": 1, "page": page}).json()["threads"]
    assert following["thread_id"] == "one 7"

    assert ann.patch("/threads/one%207", json={"title": "Seven"}).status_code == 204
    info = ann.get("/threads/one%207", params={"without_messages": "true"}).json()
    assert (info["thread"]["title"], info["messages"]) == ("Seven", [])
    assert ann.patch("/threads/one%207", json={"title": None}).status_code == 204
    assert ann.get("/threads/one%207").json()["thread"]["title"] is None
    assert ann.delete("/threads/one%207").status_code == 204
    assert ann.patch("/threads/one%207", json={"title": "x"}).status_code == 404
    assert "thread" not in ann.get("/threads/one%207").json()


@pytest.mark.parametrize("body", [{}, {"title": 5}, {"title": "x" * 201}, {"name": "x"}, []])
def test_a_title_is_a_text(ann: httpx.Client, body: Any) -> None:
    assert ann.patch("/threads/any", json=body).status_code == 400


@pytest.mark.parametrize("query", [{"page": "x"}, {"limit": "0"}, {"since": "yesterday"}])
def test_a_list_of_conversations_refuses_nonsense(ann: httpx.Client, query: Any) -> None:
    assert ann.get("/threads", params=query).status_code == 400


def test_a_conversation_is_followed_over_its_runs(ann: httpx.Client) -> None:
    first = start(ann, "say One.", thread_id="followed")
    until(ann, first, "finished")
    with ann.stream("GET", "/threads/followed/stream") as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.iter_lines()
        seen = until_type(lines, "finish")
        second = start(ann, "say Two.", thread_id="followed")
        seen += until_type(lines, "finish")
    expected = [data for run_id in (first, second) for _, data in read(ann, run_id)]
    assert seen == expected
    assert {each["runId"] for each in seen} == {first, second}


def test_a_conversation_is_followed_on_from_a_last_event_id(ann: httpx.Client) -> None:
    first = start(ann, "say One.", thread_id="left")
    until(ann, first, "finished")
    second = start(ann, "say Two.", thread_id="left")
    until(ann, second, "finished")
    [*_, (left_at, _), _] = read(ann, first)
    header = {"last-event-id": f"{first}:{left_at}"}
    with ann.stream("GET", "/threads/left/stream?after=ignored", headers=header) as reply:
        lines = reply.iter_lines()
        seen = until_type(lines, "finish") + until_type(lines, "finish")
    assert seen == [read(ann, first)[-1][1], *(data for _, data in read(ann, second))]


@pytest.mark.parametrize(
    ("after", "status"), [("x", 400), ("r:x", 400), ("none:0", 404), ("a b:1-1", 404)]
)
def test_a_place_that_is_in_no_conversation_is_refused(
    ann: httpx.Client, after: str, status: int
) -> None:
    for method in ("GET", "HEAD"):
        reply = ann.request(method, "/threads/any/stream", params={"after": after})
        assert reply.status_code == status
