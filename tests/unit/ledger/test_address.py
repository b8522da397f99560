"""Redis URLs: what they may say, and what is said of those that cannot be used."""

import contextlib
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent import ConfigurationError
from evented_agent.ledger.address import Node, parse_address, repeatable_url, safe_url

SECRET = "s3cret-Pa55"


@pytest.mark.parametrize(
    ("url", "kind", "nodes", "options"),
    [
        ("redis://", "server", [("localhost", 6379)], {}),
        ("redis://host", "server", [("host", 6379)], {}),
        ("redis://host:1/2", "server", [("host", 1)], {"db": 2}),
        ("redis://host//2", "server", [("host", 6379)], {"db": 2}),
        ("redis://host?db=3", "server", [("host", 6379)], {"db": 3}),
        ("redis://host/1?virtual_host=3", "server", [("host", 6379)], {"db": 3}),
        ("redis://[::1]:7/0", "server", [("::1", 7)], {"db": 0}),
        ("redis://:p@host", "server", [("host", 6379)], {"password": "p"}),
        ("redis://u:p%2F%40%23@h", "server", [("h", 6379)], {"username": "u", "password": "p/@#"}),
        ("redis://u:p@ss@h", "server", [("h", 6379)], {"username": "u", "password": "p@ss"}),
        ("rediss://h", "server", [("h", 6379)], {"ssl": True}),
        (
            "rediss://h?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem",
            "server",
            [("h", 6379)],
            {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"},
        ),
        ("redis://h?ssl_cert_reqs=none", "server", [("h", 6379)], {"ssl": True}),
        ("unix:///run/r.sock?db=2", "server", [], {"path": "/run/r.sock", "db": 2}),
        ("redis+socket://:p@/r.sock?virtual_host=/4", "server", [], {"password": "p", "db": 4}),
        ("redis+cluster://a:1,b,[::1]:3", "cluster", [("a", 1), ("b", 6379), ("::1", 3)], {}),
        ("rediss+cluster://a:1/0", "cluster", [("a", 1)], {"ssl": True}),
        ("sentinel://:p@a:1,b/2?master=m", "sentinel", [("a", 1), ("b", 26379)], {"db": 2}),
        ("sentinel://a:1/2;sentinel://b:2?master=m", "sentinel", [("a", 1), ("b", 2)], {"db": 2}),
    ],
)
def test_a_url_says_where_the_runs_are(
    url: str, kind: str, nodes: list[tuple[str, int]], options: dict[str, object]
) -> None:
    address = parse_address(url)

    assert address.kind == kind
    assert [(node.host, node.port) for node in address.nodes] == nodes
    assert options.items() <= dict(address.options).items()


def test_sentinels_are_asked_with_options_of_their_own() -> None:
    address = parse_address(
        "sentinel://u:p@a/0?master=m&sentinel_password=q&sentinel_ssl_ca_certs=/ca"
        "&min_other_sentinels=1&socket_timeout=9"
    )

    assert dict(address.options) == {
        "username": "u",
        "password": "p",
        "db": 0,
        "socket_timeout": 9.0,
    }
    assert dict(address.sentinel_options) == {"password": "q", "ssl": True, "ssl_ca_certs": "/ca"}
    assert (address.master, address.least_sentinels) == ("m", 1)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no scheme"),
        (f"amqp://u:{SECRET}@h//", "'amqp'"),
        (f"redis://:{SECRET}@a;redis://b", "lists several servers"),
        (f"redis://:{SECRET}@a,b", r"redis\+cluster://"),
        (f"redis://:{SECRET}@a:port/0", "port"),
        (f"redis://:{SECRET}@a:70000/0", "port"),
        (f"redis://:{SECRET}@a/name", "'name' is no number"),
        (f"redis://:{SECRET}@a/0#part", "%23"),
        (f"redis://:[{SECRET}@a/0", "%5B"),
        (f"redis://:{SECRET}@a/0?colour=red", "'colour' is not known"),
        (f"redis://:{SECRET}@a/0?db=x", "no whole number"),
        (f"redis://:{SECRET}@a/0?socket_timeout=soon", "no number of seconds"),
        (f"redis://:{SECRET}@a/0?ssl_check_hostname=perhaps", "neither true nor false"),
        (f"rediss://:{SECRET}@a/0?ssl_cert_reqs=yes", "CERT_REQUIRED"),
        (f"redis://a/0?credential_provider=no.such&password={SECRET}", "could not be made"),
        (f"redis+cluster://:{SECRET}@a/1", "database 0 only"),
        (f"sentinel://:{SECRET}@a/1", r"\?master=NAME"),
        ("unix://", "names no socket"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_what_to_change(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        parse_address(url)
    assert SECRET not in str(refused.value)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
NETLOCS = ["redis://{}:{}@h:1/0", "redis+cluster://{}:{}@h:1,i:2", "sentinel://{}:{}@h/0?master=m"]


@given(user=texts, password=texts, form=st.sampled_from(NETLOCS))
def test_any_user_and_password_can_be_written(user: str, password: str, form: str) -> None:
    url = form.format(quote(user, safe=""), quote(password, safe=""))
    address = parse_address(url)

    assert (address.options["username"], address.options["password"]) == (user, password)
    assert url.partition("@")[0].partition("//")[2] not in safe_url(url)


@given(st.text(string.printable, max_size=40))
def test_no_text_is_more_than_a_configuration_error(text: str) -> None:
    safe_url(text)
    with contextlib.suppress(ConfigurationError):
        parse_address(text)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        (f"redis://u:{SECRET}@h:1/2?password={SECRET}", "redis://h:1/2"),
        (f"redis+cluster://:{SECRET}@a:1,b:2", "redis+cluster://a:1,b:2"),
        (f"sentinel://:{SECRET}@a:1/0;sentinel://:{SECRET}@b:2/0", "sentinel://a:1/0,b:2/0"),
        (f"redis://:{SECRET}/{SECRET}@h/0", "redis://h/0"),
        (f"redis://:{SECRET}#{SECRET}@h/0", "redis://h/0"),
        (f"redis://:{SECRET}?{SECRET}@h/0", "redis://(hidden)"),
        (f"redis://h/0?password={SECRET}@{SECRET}", "redis://(hidden)"),
        (f"redis://:{SECRET}", "redis://(hidden)"),
        ("redis://[::1]:7/0", "redis://[::1]:7/0"),
        ("unix:///run/r.sock?db=1", "unix:///run/r.sock"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, safe: str) -> None:
    assert safe_url(url) == safe


def test_what_is_shown_to_be_used_again_has_all_options_but_secrets() -> None:
    given = (
        f"sentinel://u:{SECRET}@a:1,b:2/0?master=m&ssl_ca_certs=/ca.pem&sentinel_password={SECRET}"
    )
    shown = repeatable_url(given)

    assert shown == "sentinel://a:1,b:2/0?master=m&ssl_ca_certs=/ca.pem"
    assert parse_address(shown).master == "m"
    assert repeatable_url(f"redis://:{SECRET}@h/1?password={SECRET}") == "redis://h/1"


def test_a_node_is_shown_as_it_is_written() -> None:
    assert (str(Node("a", 1)), str(Node("::1", 2))) == ("a:1", "[::1]:2")
