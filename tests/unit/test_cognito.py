"""Who a request comes from: valid access tokens, hostile ones, and what each user can reach."""

from __future__ import annotations

import http.client
import re
import sys
from urllib.parse import urlencode

import botocore.session
import pytest

from app import create_app
from app.cognito import Verifier, issuer
from app.problems import Problem
from app.settings import Settings
from entrypoint.environment import SettingError
from tests.api import app_api
from tests.faults import FaultyDynamo, KeyServer, slow
from tests.hostile_tokens import ATTACKER, HEADER, HOSTILE, MALFORMED, MISSING, REFUSED_BY_NGINX, SUB, Pool
from tests.running import wait_for
from tests.tokens import POOL_KEY, jwk, make_token

PATH = "/authenticated-item"
ITEM = {"title": "my title", "content": "my content"}
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/items"


@pytest.fixture(scope="session")
def attacker():
    """The attacker's own server; nobody must ever ask it for anything."""
    with KeyServer(jwk(ATTACKER)) as server:
        yield server


@pytest.fixture
def pool(aws, attacker):
    return Pool(aws.environment["COGNITO_USER_POOL_ID"], aws.environment["COGNITO_CLIENT_ID"], attacker.url)


def assert_refused(answer, challenge='Bearer error="invalid_token"'):
    assert answer.status == 401, answer.body
    assert answer.headers["WWW-Authenticate"] == challenge
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(answer.json) == {"type", "title", "status", "detail", "request_id"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused(service, pool, attacker, name):
    value = HOSTILE[name](pool)
    answer = service("GET", PATH, headers={"Authorization": value.encode("latin-1").decode("latin-1")})
    if name in REFUSED_BY_NGINX and answer.status != 401:
        assert answer.status == REFUSED_BY_NGINX[name]
    else:
        assert_refused(answer)
    assert attacker.requests == []


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("method", ["PUT", "GET", "POST", "DELETE", "HEAD"])
def test_no_token_is_a_bare_challenge(service, method):
    for headers in ({}, {"Authorization": ""}, {"Cookie": "Authorization=x", "X-Authorization": "Bearer x"}):
        # and nothing else that may be wrong is looked at
        answer = service(method, f"{PATH}/no-uuid?limit=x", headers=headers)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_token_in_the_query_the_body_or_a_cookie_is_none(service, pool):
    query = urlencode({"access_token": pool.token()})
    body = {"Content-Type": "application/x-www-form-urlencoded"}
    assert_refused(service("GET", f"{PATH}?{query}"), "Bearer")
    assert_refused(service("POST", PATH, body=query, headers=body), "Bearer")
    assert_refused(service("GET", PATH, headers={"Cookie": query}), "Bearer")


def test_two_authorization_headers_are_refused(pool, aws, store_directory):
    app = create_app(Settings.from_environment({**aws.environment, "RUN_DIR": store_directory}))
    headers = [("Authorization", f"Bearer {pool.token()}")] * 2
    assert app.test_client().get(PATH, headers=headers).status_code == 401


def test_nginx_refuses_two_authorization_headers(pool, running_stack):
    connection = http.client.HTTPConnection("127.0.0.1", running_stack.port, timeout=10)
    connection.putrequest("GET", PATH)
    for _ in range(2):
        connection.putheader("Authorization", f"Bearer {pool.token()}")
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


@pytest.fixture
def connections():
    """Every address that this process connects to, or looks up, during the test."""
    found = set()

    def hook(event, arguments):
        if event == "socket.connect":
            found.add(arguments[1])
        elif event == "socket.getaddrinfo":
            found.add(arguments[:2])

    # a hook stays as long as the process: after the test nobody looks at what it finds
    sys.addaudithook(hook)
    return found


def test_hostile_tokens_cause_no_request_but_for_the_keys(aws, attacker, store_directory, connections):
    with FaultyDynamo(aws.url) as dynamo, KeyServer(jwk(POOL_KEY)) as keys:
        addresses = {"AWS_ENDPOINT_URL_DYNAMODB": dynamo.url, "COGNITO_JWKS_URL": keys.url, "RUN_DIR": store_directory}
        api = app_api(create_app(Settings.from_environment({**aws.environment, **addresses})))
        pool = Pool(aws.environment["COGNITO_USER_POOL_ID"], aws.environment["COGNITO_CLIENT_ID"], attacker.url)
        connections.clear()
        for make in HOSTILE.values():
            assert_refused(api("PUT", PATH, ITEM, headers={"Authorization": make(pool)}))
        assert connections == {("127.0.0.1", keys.port)}
        assert keys.requests == ["/"]
        assert dynamo.requests == []
        assert attacker.requests == []


@pytest.mark.parametrize("name", MALFORMED)
def test_no_key_is_looked_for_when_the_header_is_enough(name):
    with KeyServer(jwk(POOL_KEY)) as keys:
        pool, verifier = verifier_of(keys)
        with pytest.raises(Problem) as refused:
            verifier.verify(MALFORMED[name](pool))
        assert refused.value.status == 401
        assert keys.requests == []


# valid tokens


def test_a_token_of_the_pool_is_accepted(service, aws):
    headers = {"Authorization": f"Bearer {aws.token('alice')}"}
    assert service("GET", PATH, headers=headers).status == 200


@pytest.mark.parametrize(
    "value",
    [
        lambda pool: f"bearer {pool.token()}",
        lambda pool: f"BEARER {pool.token()}",
        lambda pool: f"Bearer {make_token({**HEADER, 'typ': 'JWT'}, pool.claims(), POOL_KEY)}",
        lambda pool: f"Bearer {make_token({**HEADER, 'new': 'x'}, pool.claims(), POOL_KEY)}",
        lambda pool: f"Bearer {pool.token(auth_time=MISSING, scope=MISSING, username=MISSING)}",
        lambda pool: f"Bearer {pool.token(aud='anything', **{'cognito:groups': ['a', 'b'], 'new': {'a': [1.5]}})}",
    ],
)
def test_what_does_not_matter_is_accepted(service, pool, value):
    assert service("GET", PATH, headers={"Authorization": value(pool)}).status == 200


NOW = 1_800_000_000
SKEW, LIFETIME = 60, 24 * 3600


@pytest.mark.parametrize(
    ("claims", "valid"),
    [
        ({"exp": NOW + 1}, True),
        ({"exp": NOW}, False),
        ({"exp": NOW + LIFETIME}, True),
        ({"exp": NOW + LIFETIME + 1}, False),
        ({"iat": NOW + SKEW}, True),
        ({"iat": NOW + SKEW + 1}, False),
        ({"iat": NOW - LIFETIME, "exp": NOW + 1}, False),
        ({"nbf": NOW + SKEW}, True),
        ({"nbf": NOW + SKEW + 1}, False),
        ({"auth_time": NOW + SKEW}, True),
        ({"auth_time": NOW + SKEW + 1}, False),
    ],
)
def test_the_moments_at_which_a_token_becomes_and_ceases_to_be_valid(claims, valid):
    pool = Pool("eu-west-1_AbCdEfGhI", "client")
    with KeyServer(jwk(POOL_KEY)) as keys:
        verifier = Verifier(pool.id, ["client"], keys_url=keys.url, clock=lambda: NOW)
        times = {"iss": issuer(pool.id), "iat": NOW, "auth_time": NOW, "exp": NOW + 60}
        authorization = f"Bearer {pool.token(**(times | claims))}"
        if valid:
            assert verifier.verify(authorization) == SUB
        else:
            with pytest.raises(Problem) as refused:
                verifier.verify(authorization)
            assert refused.value.status == 401


def test_what_nobody_has_foreseen_is_a_401_too(caplog):
    with KeyServer(jwk(POOL_KEY)) as keys:
        pool, verifier = verifier_of(keys, clock=lambda: 1 / 0)
        with pytest.raises(Problem) as refused:
            verifier.verify(f"Bearer {pool.token()}")
    assert refused.value.status == 401
    assert "ZeroDivisionError" in caplog.text


def verifier_of(keys, **options):
    pool = Pool("us-east-1_AbCdEfGhI", "client")
    return pool, Verifier(pool.id, ["another", "client"], keys_url=keys.url, **options)


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("items/write", None),
        ("openid items/write email", None),
        ("items/writer", 403),
        ("xitems/write", 403),
        ("items/write\topenid", 403),
        ("", 403),
        (MISSING, 403),
        (["items/write"], 403),
        (None, 403),
    ],
)
def test_a_scope_that_is_asked_for(scope, status):
    with KeyServer(jwk(POOL_KEY)) as keys:
        pool, verifier = verifier_of(keys, scope="items/write")
        authorization = f"Bearer {pool.token(scope=scope)}"
        if status is None:
            assert verifier.verify(authorization) == SUB
            return
        with pytest.raises(Problem) as refused:
            verifier.verify(authorization)
        assert refused.value.status == status
        assert refused.value.headers == {
            "WWW-Authenticate": 'Bearer error="insufficient_scope", scope="items/write"',
        }


def test_the_scope_and_each_client_of_the_settings_count(store_directory):
    with KeyServer(jwk(POOL_KEY)) as keys:
        pool = Pool("us-east-1_AbCdEfGhI", "client")
        settings = {
            "COGNITO_USER_POOL_ID": pool.id,
            "COGNITO_CLIENT_ID": f"another,{pool.client}",
            "COGNITO_SCOPE": "items/write",
            "COGNITO_JWKS_URL": keys.url,
        }
        api = app_api(create_app(Settings.from_environment({**settings, "RUN_DIR": store_directory})))
        # who is let in is told that there is no table
        for scope, status in (("items/read", 403), ("items/write", 503)):
            headers = {"Authorization": f"Bearer {pool.token(scope=scope)}"}
            assert api("GET", PATH, headers=headers).status == status


def test_an_invalid_token_is_a_401_even_without_the_scope(caplog):
    caplog.set_level("INFO", "app.cognito")
    with KeyServer(jwk(POOL_KEY)) as keys:
        pool, verifier = verifier_of(keys, scope="items/write")
        with pytest.raises(Problem) as refused:
            verifier.verify(f"Bearer {pool.token(exp=1, scope='')}")
        assert refused.value.status == 401
    # the reason is for the log, the token is not
    assert caplog.messages == ["token refused: exp"]


@pytest.mark.parametrize("between", [0.0, 10.0])
def test_without_keys_the_answer_is_503_and_says_when_to_come_back(aws, store_directory, monkeypatch, between):
    monkeypatch.setattr("app.keys.BETWEEN_FETCHES", between)
    with KeyServer() as keys:
        keys.goes_down()
        settings = {**aws.environment, "COGNITO_JWKS_URL": keys.url, "RUN_DIR": store_directory}
        api = app_api(create_app(Settings.from_environment(settings)))
        pool = Pool(aws.environment["COGNITO_USER_POOL_ID"], aws.environment["COGNITO_CLIENT_ID"])
        answer = api("GET", PATH, headers={"Authorization": f"Bearer {pool.token()}"})
        assert answer.status == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
        assert "127.0.0.1" not in answer.json["detail"]
        assert_refused(api("GET", PATH, headers={"Authorization": "Bearer x"}))
        assert api("GET", "/ping").status == 200
        assert api("GET", "/db-item").status == 200


def test_a_health_check_has_the_keys_fetched_before_a_token_comes(store_directory):
    with KeyServer() as keys:
        settings = {
            "COGNITO_USER_POOL_ID": "eu-central-1_pool",
            "COGNITO_CLIENT_ID": "client",
            "COGNITO_JWKS_URL": keys.url,
        }
        api = app_api(create_app(Settings.from_environment({**settings, "RUN_DIR": store_directory})))
        assert api("GET", "/ping").status == 200
        wait_for(lambda: keys.requests == ["/"])


def test_valid_tokens_are_served_while_the_address_is_slow_and_strangers_ask(aws):
    with KeyServer(jwk(POOL_KEY)) as keys:
        pool, verifier = verifier_of(keys)
        assert verifier.verify(f"Bearer {pool.token()}") == SUB
        keys.fault = slow
        stranger = make_token({**HEADER, "kid": "unknown"}, pool.claims(), ATTACKER)
        for _ in range(200):
            with pytest.raises(Problem):
                verifier.verify(f"Bearer {stranger}")
            assert verifier.verify(f"Bearer {pool.token()}") == SUB
        assert len(keys.requests) == 1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["COGNITO_USER_POOL_ID", "COGNITO_CLIENT_ID"]),
        ({"COGNITO_USER_POOL_ID": "us-east-1_AbCdEfGhI"}, ["COGNITO_CLIENT_ID"]),
        ({"COGNITO_CLIENT_ID": "abc"}, ["COGNITO_USER_POOL_ID"]),
    ],
)
def test_without_a_pool_the_answer_names_the_variables(store_directory, given, named):
    api = app_api(create_app(Settings.from_environment({"RUN_DIR": store_directory, **given})))
    for headers in ({}, {"Authorization": "Bearer x"}):
        answer = api("GET", PATH, headers=headers)
        assert answer.status == 503
        assert re.findall(r"COGNITO_\w+", answer.json["detail"]) == named
    assert api("GET", "/item").status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COGNITO_USER_POOL_ID", "eu-west-1"),
        ("COGNITO_USER_POOL_ID", "eu-west-1_x/../y"),
        ("COGNITO_USER_POOL_ID", "evil.example.com/eu-west-1_x"),
        ("COGNITO_CLIENT_ID", "a b/c"),
        ("COGNITO_JWKS_URL", "file:///etc/passwd"),
        ("COGNITO_SCOPE", "two scopes"),
        ("COGNITO_SCOPE", 'a"quote'),
        ("COGNITO_SCOPE", "a\\backslash"),
        ("ITEM_STORE_SIZE", "1023k"),
        ("TABLE_NAME", "no"),
        ("TABLE_NAME", "a table"),
        ("AWS_REGION", "eu west"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "127.0.0.1:8000"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name, value):
    with pytest.raises(SettingError, match=f"^{name}="):
        Settings.from_environment({name: value, "RUN_DIR": "/tmp"})


@pytest.mark.parametrize(
    ("variables", "name", "value"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}, "aws_region", "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}, "aws_region", "us-east-1"),
        ({"TABLE_NAME": TABLE_ARN}, "table_name", TABLE_ARN),
        ({"COGNITO_JWKS_URL": "https://keys.example/path"}, "cognito_keys_url", "https://keys.example/path"),
    ],
)
def test_a_setting_that_can_be_used(variables, name, value):
    assert getattr(Settings.from_environment({**variables, "RUN_DIR": "/tmp"}), name) == value


def regions():
    """Every Region that botocore knows, with the DNS suffix of its partition."""
    partitions = botocore.session.get_session().get_component("data_loader").load_data("partitions")["partitions"]
    return [
        (region, partition["outputs"]["dnsSuffix"])
        for partition in partitions
        for region in partition["regions"]
        if not region.endswith("-global")
    ]


@pytest.mark.parametrize(("region", "suffix"), regions())
def test_pools_of_every_region_have_their_partitions_address(region, suffix):
    id = f"{region}_AbCdEfGhI"
    settings = Settings.from_environment({"COGNITO_USER_POOL_ID": id, "RUN_DIR": "/tmp"})
    assert issuer(settings.cognito_user_pool_id) == f"https://cognito-idp.{region}.{suffix}/{id}"
    assert Verifier(id, ["x"]).keys.url == f"https://cognito-idp.{region}.{suffix}/{id}/.well-known/jwks.json"


# what a user can reach


@pytest.fixture
def users(service, aws):
    """Requests of two users to their items, and of anybody to those of all, with an item each."""
    calls = [caller(service, PATH, aws.token(user)) for user in ("alice", "bob")] + [caller(service, "/db-item")]
    items = [call("PUT", "", {**ITEM, "title": f"{number}"}).json for number, call in enumerate(calls)]
    yield list(zip(calls, items, strict=True))
    for call, item in zip(calls, items, strict=True):
        call("DELETE", f"/{item['id']}")


def caller(service, path, token=None):
    api = service.with_headers(Authorization=f"Bearer {token}") if token else service
    return lambda method, suffix="", *rest, **options: api(method, path + suffix, *rest, **options)


def others(users):
    return [(call, other, others_call) for call, mine in users for others_call, other in users if other is not mine]


def test_nobody_reads_updates_or_deletes_the_items_of_others(users):
    for call, other, others_call in others(users):
        id = other["id"]
        for suffix, extra in ((f"/{id}", {}), (f"?id={id}", {}), ("", {"id": id})):
            assert call("POST", suffix, {"title": "mine", **extra}).status == 404
            assert call("DELETE", suffix, extra).status == 404
            assert call("POST", suffix, {"title": "mine", **extra}, headers={"If-Match": "*"}).status == 404
        assert call("GET", f"/{id}").status == call("GET", f"?id={id}").status == 404
        assert call("GET", f"/{id}", headers={"If-None-Match": "*"}).status == 404
        assert others_call("GET", f"/{id}").json == other


def test_nobody_overwrites_the_items_of_others(users):
    for call, other, others_call in others(users):
        created = call("PUT", f"/{other['id']}", ITEM)
        # ids are the user's own: it is another item that has the same
        assert created.status == 201
        assert others_call("GET", f"/{other['id']}").json == other
        assert call("DELETE", f"/{other['id']}").status == 204
        assert others_call("GET", f"/{other['id']}").json == other


def test_nobody_lists_the_items_of_others_not_even_with_their_cursor(users):
    for call, other, others_call in others(users):
        more = [others_call("PUT", "", ITEM).json["id"] for _ in range(2)]
        cursor = others_call("GET", "?limit=1").json["next"]
        for suffix in ("", "?limit=100", f"?limit=100&cursor={cursor}"):
            ids = {item["id"] for item in call("GET", suffix).json["items"]}
            assert ids.isdisjoint({other["id"], *more})
        for id in more:
            others_call("DELETE", f"/{id}")


@pytest.mark.parametrize("name", ["userId", "owner", "sub", "user_id"])
def test_nothing_in_a_request_chooses_the_user(users, name):
    (alice, mine), (_, bobs), (_, shared) = users
    for value in ("SYSTEM", SUB):
        assert alice("PUT", "", {**ITEM, name: value}).status == 422
        assert alice("POST", f"/{mine['id']}", {"title": "x", name: value}).status == 422
        headers = {name: value, f"X-{name}": value}
        assert alice("GET", f"/{shared['id']}?{name}={value}", headers=headers).status == 404
        assert alice("GET", f"/{bobs['id']}?{name}={value}", headers=headers).status == 404
        listed = alice("GET", f"?{name}={value}", headers=headers).json["items"]
        assert [item["id"] for item in listed] == [mine["id"]]
