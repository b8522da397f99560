"""Who may do what: each route for its owner, for others, for nobody; and for foreign pages."""

import time
from typing import Any

import httpx
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from starlette.requests import Request

from evented_agent import ConfigurationError, InProcessAgent, RunInfo
from evented_agent.web import Action, Principal, create_app
from tests.http.conftest import KEY, Serve, Served, authorize
from tests.http.requests import call, read, start, until, until_type

#: Each route that is about a run, with a body that fits, and what its owner is answered.
RUN_ROUTES: list[tuple[str, str, Any, int]] = [
    ("GET", "", None, 200),
    ("GET", "/result", None, 200),
    ("HEAD", "/stream", None, 200),
    ("GET", "/stream?close_on_suspend=true", None, 200),
    ("GET", "/background", None, 200),
    ("GET", "/attempts", None, 200),
    ("POST", "/token", {}, 201),
    ("POST", "/approve", {}, 200),
    ("POST", "/decline", {}, 200),
    ("POST", "/resume", {"data": {"approved": True}}, 200),
    ("POST", "/messages", {"input": "say Hi."}, 202),
    ("POST", "/messages", {"input": "say Hi.", "decline": True}, 202),
    ("POST", "/retry", {}, 409),
    ("POST", "/background/none/cancel", {}, 200),
    ("POST", "/abort", {}, 202),
    ("DELETE", "", None, 204),
]
#: Those that are about none.
OTHER_ROUTES: list[tuple[str, str, Any, int]] = [
    ("POST", "/runs", {"agent": "talker", "input": "say Hi."}, 202),
    ("GET", "/runs", None, 200),
    ("GET", "/pending", None, 200),
    ("GET", "/threads", None, 200),
    ("GET", "/threads/t", None, 200),
    ("HEAD", "/threads/t/stream", None, 200),
    ("PATCH", "/threads/t", {"title": "T"}, 404),
    ("POST", "/threads/t/token", {}, 201),
    ("POST", "/threads/nobody-s/messages", {"input": "say Hi."}, 404),
    ("POST", "/threads/new/messages", {"input": "say Hi.", "agent": "talker"}, 202),
    ("DELETE", "/threads/t", None, 204),
    ("GET", "/workers", None, 403),
    ("GET", "/metrics", None, 403),
    ("GET", "/metrics.json", None, 403),
]
FOREIGN = {"origin": "https://evil.example"}


def expired_token(run_id: str) -> str:
    class Old(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time()) - 301

    salt = "evented_agent.web.stream-token"
    serializer = URLSafeTimedSerializer(KEY.encode(), salt=salt, signer=Old)
    return str(serializer.dumps(["act", run_id, None, "Ann", "ann", ["read", "decide", "act"]]))


def ask(client: httpx.Client, method: str, path: str, body: Any, **options: Any) -> int:
    if body is not None:
        options["json"] = body
    return client.request(method, path, **options).status_code


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"), RUN_ROUTES, ids=[f"{r[0]} {r[1]}" for r in RUN_ROUTES]
)
def test_a_run_exists_for_its_owner_alone(
    served: Served, method: str, path: str, body: Any, expected: int
) -> None:
    ann, nobody = served.as_("ann"), served.as_("")
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")
    url, missing = f"/runs/{run_id}{path}", f"/runs/nobody-s{path}"
    old = {"token": expired_token(run_id)}

    assert ask(served.as_("bob"), method, url, body) == 404
    assert ask(nobody, method, url, body) == ask(nobody, method, missing, body) == 401
    assert ask(nobody, method, url, body, params=old) == 401
    if method not in ("GET", "HEAD"):
        assert ask(ann, method, url, body, headers=FOREIGN) == 403
    assert ask(ann, method, url, body) == expected


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"), RUN_ROUTES, ids=[f"{r[0]} {r[1]}" for r in RUN_ROUTES]
)
def test_a_run_of_somebody_else_looks_like_one_that_there_is_not(
    served: Served, method: str, path: str, body: Any, expected: int
) -> None:
    ann, bob = served.as_("ann"), served.as_("bob")
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")

    theirs, missing = (
        bob.request(method, f"/runs/{name}{path}", json=body) for name in (run_id, "f" * 32)
    )

    assert (theirs.status_code, theirs.content) == (missing.status_code, missing.content)
    ann.post(f"/runs/{run_id}/abort")


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    OTHER_ROUTES,
    ids=[f"{r[0]} {r[1]}" for r in OTHER_ROUTES],
)
def test_what_is_about_no_run_needs_a_sign_in(
    served: Served, method: str, path: str, body: Any, expected: int
) -> None:
    old = {"token": expired_token("r")}

    assert ask(served.as_(""), method, path, body) == 401
    assert ask(served.as_(""), method, path, body, params=old) == 401
    if method not in ("GET", "HEAD"):
        assert ask(served.as_("ann"), method, path, body, headers=FOREIGN) == 403
    assert ask(served.as_("ann"), method, path, body) == expected


def test_lists_hold_what_is_ones_own(served: Served) -> None:
    ann, bob = served.as_("ann"), served.as_("bob")
    run_id = start(ann, call("erase", name="it"), thread_id="same")
    until(ann, run_id, "suspended")
    query = {"resource_id": "ann", "limit": "200"}

    assert run_id in [run["run_id"] for run in ann.get("/runs").json()["runs"]]
    for path, key in (("/runs", "runs"), ("/pending", "pending")):
        found = bob.get(path, params=query).json()[key]
        assert [each for each in found if each["resource_id"] != "bob"] == []
    assert bob.get("/threads/same").json() == {"messages": []}
    everything = served.as_("service").get("/runs", params={"limit": "200"}).json()["runs"]
    assert run_id in [run["run_id"] for run in everything]
    ann.post(f"/runs/{run_id}/abort")


def test_conversations_are_ones_own(served: Served) -> None:
    ann, bob, service = served.as_("ann"), served.as_("bob"), served.as_("service")
    until(ann, start(ann, "say Mine.", thread_id="diary"), "finished")
    query = {"resource_id": "ann", "limit": "200"}

    def ids(client: httpx.Client, **more: str) -> list[str]:
        found = client.get("/threads", params={**query, **more}).json()["threads"]
        return [each["thread_id"] for each in found]

    assert "diary" in ids(ann)
    assert "diary" in ids(service)
    assert "diary" not in ids(bob)
    assert "diary" not in ids(service, resource_id="bob")
    # Another's looks like one that there is not.
    theirs, missing = (
        bob.patch(f"/threads/{name}", json={"title": "Mine!"}) for name in ("diary", "none")
    )
    assert (theirs.status_code, theirs.content) == (missing.status_code, missing.content)
    assert served.as_("reader").patch("/threads/diary", json={"title": "x"}).status_code == 403
    assert served.as_("reader").get("/threads").status_code == 200
    assert ann.patch("/threads/diary", json={"title": "Diary"}).status_code == 204
    shown = ann.get("/threads/diary").json()["thread"]
    assert (shown["title"], shown["resource_id"], shown["messages"]) == ("Diary", "ann", 2)


def test_a_stream_token_of_a_conversation_lists_none_and_names_its_own_alone(
    served: Served,
) -> None:
    ann, nobody = served.as_("ann"), served.as_("")
    until(ann, start(ann, "say Hi.", thread_id="named"), "finished")
    until(ann, start(ann, "say Hi.", thread_id="unnamed"), "finished")
    made = {
        may: {"token": ann.post("/threads/named/token", json={"may": may}).json()["token"]}
        for may in ("read", "act")
    }
    title = {"title": "By token"}

    assert nobody.get("/threads", params=made["act"]).status_code == 401
    assert nobody.patch("/threads/named", json=title, params=made["read"]).status_code == 401
    assert nobody.patch("/threads/unnamed", json=title, params=made["act"]).status_code == 401
    assert nobody.patch("/threads/named", json=title, params=made["act"]).status_code == 204

    waiting = start(ann, call("erase", name="it"), thread_id="named")
    until(ann, waiting, "suspended")
    said = {"input": "say By token.", "message_id": "m"}
    url, other = "/threads/named/messages", "/threads/unnamed/messages"
    assert nobody.post(url, json=said, params=made["read"]).status_code == 401
    assert nobody.post(other, json=said, params=made["act"]).status_code == 401
    assert nobody.post(url, json=said, params=made["act"]).json()["run_id"] == waiting
    ann.post(f"/runs/{waiting}/abort")


def test_a_conversation_is_followed_by_its_owner_alone(served: Served) -> None:
    ann, bob, nobody = served.as_("ann"), served.as_("bob"), served.as_("")
    run_id = start(ann, "say Mine.", thread_id="watched")
    until(ann, run_id, "finished")
    theirs = start(bob, "say Theirs.", thread_id="watched")
    until(bob, theirs, "finished")
    token = {"token": ann.post("/threads/watched/token").json()["token"]}
    other = {"token": ann.post("/threads/other/token").json()["token"]}

    for client, query in ((ann, {}), (nobody, token)):
        with client.stream("GET", "/threads/watched/stream", params=query) as reply:
            seen = until_type(reply.iter_lines(), "finish")
        assert {each["runId"] for each in seen} == {run_id}
    # Another's run is no place in one's own conversation.
    place = {"after": f"{theirs}:1"}
    assert ann.head("/threads/watched/stream", params=place).status_code == 404
    assert nobody.head("/threads/watched/stream", params=other).status_code == 401
    assert nobody.head("/threads/watched/stream").status_code == 401


def test_names_count_within_a_resource(served: Served) -> None:
    ann, bob = served.as_("ann"), served.as_("bob")
    body = {"agent": "talker", "input": "say Mine.", "run_id": "same-name"}
    keyed = {"agent": "talker", "input": "say Keyed."}
    key = {"idempotency-key": "same-key"}

    assert ann.post("/runs", json=body).status_code == 202
    assert bob.get("/runs/same-name").status_code == 404
    assert bob.post("/runs", json={**body, "input": "say Other."}).status_code == 202
    assert bob.get("/runs/same-name/result").json()["messages"][0]["content"] == "say Other."
    assert ann.get("/runs/same-name/result").json()["messages"][0]["content"] == "say Mine."
    first = ann.post("/runs", json=keyed, headers=key).json()
    second = bob.post("/runs", json={**keyed, "input": "say X."}, headers=key).json()
    assert first["run_id"] != second["run_id"]


def test_the_id_of_a_run_of_somebody_else_can_be_chosen_as_a_name(served: Served) -> None:
    ann, bob = served.as_("ann"), served.as_("bob")
    run_id = start(ann, "say Secret.")

    assert start(bob, "say Mine.", run_id=run_id) == run_id
    assert read(bob, run_id)[-1][1]["runId"] == run_id
    assert bob.get(f"/runs/{run_id}/result").json()["text"] == "Mine."
    assert ann.get(f"/runs/{run_id}/result").json()["messages"][0]["content"] == "say Secret."


def test_starting_forces_ones_own_resource(served: Served) -> None:
    run_id = start(served.as_("bob"), "say Hi.", resource_id="ann")

    assert served.as_("bob").get(f"/runs/{run_id}").json()["resource_id"] == "bob"
    assert served.as_("ann").get(f"/runs/{run_id}").status_code == 404


def test_scopes_say_what_somebody_may_do(served: Served) -> None:
    ann, reader = served.as_("ann"), served.as_("reader")
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")

    assert reader.get(f"/runs/{run_id}").status_code == 200
    for path in ("approve", "decline", "abort", "retry"):
        assert reader.post(f"/runs/{run_id}/{path}").status_code == 403
        assert reader.post(f"/runs/nobody-s/{path}").status_code == 403
    for path in (f"/runs/{run_id}", "/runs/nobody-s", "/threads/t"):
        assert reader.post(f"{path}/messages", json={"input": "say Hi."}).status_code == 403
    assert reader.delete(f"/runs/{run_id}").status_code == 403
    assert reader.post("/runs", json={"agent": "talker", "input": "say Hi."}).status_code == 403
    assert reader.post(f"/runs/{run_id}/token", json={"may": "act"}).status_code == 403
    ann.post(f"/runs/{run_id}/abort")


def test_what_our_servers_are_called_is_for_operators(served: Served) -> None:
    ann = served.as_("ann")
    run_id = start(ann, call("hold", name="seen"))
    until(ann, run_id, "running")

    assert ann.get(f"/runs/{run_id}").json()["worker"] is None
    assert "local@" in served.as_("operator").get(f"/runs/{run_id}").json()["worker"]
    ann.post(f"/runs/{run_id}/abort")


# Where requests come from -------------------------------------------------------------------------


def cookie(served: Served, **headers: str) -> dict[str, str]:
    return {"cookie": "who=ann", **{name.replace("_", "-"): each for name, each in headers.items()}}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "ftp://HOST"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, 202),
        ({"sec_fetch_site": "none"}, 202),
        ({"origin": "http://HOST"}, 202),
        ({"origin": "https://HOST"}, 202),
        ({"origin": "https://evil.example", "sec_fetch_site": "same-origin"}, 403),
    ],
    ids=str,
)
def test_a_change_with_cookies_must_come_from_a_page_of_here(
    served: Served, headers: dict[str, str], expected: int
) -> None:
    host = served.url.removeprefix("http://")
    given = cookie(served, **{name: each.replace("HOST", host) for name, each in headers.items()})

    for content_type in ("application/json", "text/plain"):
        reply = served.as_("").post(
            "/runs",
            content=b'{"agent": "talker", "input": "say Hi."}',
            headers={**given, "content-type": content_type},
        )
        assert reply.status_code == expected


def test_pages_of_other_origins_read_nothing_unless_asked(
    durable: InProcessAgent, served: Served, serve: Serve
) -> None:
    page = {"origin": "https://shop.example"}
    allowing = serve(
        create_app(durable.client, authorize=authorize, allowed_origins=["https://shop.example"])
    )

    closed = served.as_("ann").get("/runs", headers=page)
    preflight = served.as_("").options("/runs", headers=page)
    opened = allowing.as_("ann").get("/runs", headers=page)
    asked = allowing.as_("").options("/runs", headers=page)
    foreign = allowing.as_("").options("/runs", headers=FOREIGN)

    def cors(reply: httpx.Response) -> list[str]:
        return [name for name in reply.headers if name.startswith("access-control")]

    assert cors(closed) == cors(preflight) == cors(foreign) == []
    assert opened.headers["access-control-allow-origin"] == "https://shop.example"
    assert opened.headers["vary"] == "Origin"
    assert "POST" in asked.headers["access-control-allow-methods"]
    body = {"agent": "talker", "input": "say Hi."}
    assert allowing.as_("ann").post("/runs", json=body, headers=page).status_code == 202
    assert allowing.as_("ann").post("/runs", json=body, headers=FOREIGN).status_code == 403


def test_an_allowed_page_sends_the_headers_of_official_clients(
    durable: InProcessAgent, serve: Serve
) -> None:
    site = create_app(durable.client, authorize=authorize, allowed_origins=["https://shop.example"])
    client = serve(site).as_("")

    def allowed(asked: str) -> str | None:
        headers = {"origin": "https://shop.example", "access-control-request-headers": asked}
        found: str | None = client.options("/runs", headers=headers).headers.get(
            "access-control-allow-headers"
        )
        return found

    assert allowed("content-type,x-stainless-lang") == "content-type,x-stainless-lang"
    assert "authorization" in (allowed("") or "")
    assert "authorization" in (allowed("a; b") or "")
    reply = client.options("/runs", headers={"origin": "https://shop.example"})
    assert "x-run-id" in reply.headers["access-control-expose-headers"]


def test_hosts_are_checked(durable: InProcessAgent, serve: Serve) -> None:
    hosts = ["shop.example", "*.tea.example"]
    client = serve(create_app(durable.client, authorize=authorize, allowed_hosts=hosts)).as_("ann")

    def status(host: str) -> int:
        return client.get("/runs", headers={"host": host}).status_code

    assert [status(host) for host in ("shop.example", "SHOP.example:8000", "a.tea.example")] == [
        200
    ] * 3
    for host in ("evil.example", "tea.example", "xtea.example", "127.0.0.1", "[::1]:80", ""):
        assert status(host) == 400


# How it is set up ---------------------------------------------------------------------------------


def test_nothing_is_served_without_authorize(durable: InProcessAgent) -> None:
    with pytest.raises(ConfigurationError, match="authorize"):
        create_app(durable.client)
    with pytest.raises(ConfigurationError, match="max_steps"):
        create_app(durable.client, authorize=authorize, client_options=["everything"])


def test_dev_serves_this_machine_alone(durable: InProcessAgent, serve: Serve) -> None:
    client = serve(create_app(durable.client, dev=True)).as_("")

    assert client.get("/runs").status_code == 200
    assert client.get("/runs", headers={"host": "localhost:1"}).status_code == 200
    # A name that an attacker lets point to this machine.
    assert client.get("/runs", headers={"host": "rebound.example"}).status_code == 403
    assert client.post("/runs", json={}, headers=FOREIGN).status_code == 403


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"resource_id": ""},
        {"resource_id": "r", "all_resources": True},
        {"resource_id": "r", "scopes": frozenset({"everything"})},
    ],
    ids=str,
)
def test_a_principal_says_whose_runs_it_is_about(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"resource_id|scopes"):
        Principal("name", **fields)


class Deciders:
    """An `authorize` of each form, which notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, str | None]] = []

    def note(self, request: Request, action: Action, run: RunInfo | None) -> Principal | None:
        self.asked.append((action.name, action.agent, run.run_id if run else None))
        return authorize(request, action, run)

    async def anote(self, request: Request, action: Action, run: RunInfo | None) -> Any:
        return self.note(request, action, run)

    async def __call__(self, request: Request, action: Action, run: RunInfo | None) -> Any:
        return self.note(request, action, run)


@pytest.mark.parametrize("form", ["plain", "async", "object"])
def test_authorize_is_told_what_it_is_about(
    form: str, durable: InProcessAgent, serve: Serve
) -> None:
    deciders = Deciders()
    forms: dict[str, Any] = {"plain": deciders.note, "async": deciders.anote, "object": deciders}
    client = serve(create_app(durable.client, authorize=forms[form])).as_("ann")

    run_id = start(client, "say Hi.")
    client.get(f"/runs/{run_id}")

    assert deciders.asked == [("start", "talker", None), ("read", None, run_id)]


def test_authorize_may_refuse_by_the_run(durable: InProcessAgent, serve: Serve) -> None:
    def no_secrets(request: Request, action: Action, run: RunInfo | None) -> Principal | None:
        if run is not None and run.thread_id == "secret":
            return None
        return authorize(request, action, run)

    client = serve(create_app(durable.client, authorize=no_secrets)).as_("ann")
    secret = start(client, "say Hi.", thread_id="secret")

    refused, missing = client.get(f"/runs/{secret}"), client.get("/runs/none")
    assert (refused.status_code, refused.content) == (missing.status_code, missing.content)
    assert client.get(f"/runs/{start(client, 'say Hi.')}").status_code == 200


@pytest.mark.parametrize("broken", ["raises", "returns a name"])
def test_an_authorize_that_fails_lets_nobody_in(
    broken: str, durable: InProcessAgent, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(request: Request, action: Action, run: RunInfo | None) -> Any:
        if broken == "raises":
            raise KeyError("a secret of the database")
        return "ann"

    reply = serve(create_app(durable.client, authorize=fails)).as_("ann").get("/runs")

    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in reply.text
    assert "A request failed" in caplog.text
