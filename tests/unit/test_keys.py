"""The cache of a user pool's keys, against a server that behaves and one that does not."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import keys
from app.background import BackgroundJob
from app.keys import KeyCache, KeysUnavailable, parse_keys
from tests.faults import FAULT_SECONDS, KeyServer, body, broken, slow
from tests.running import wait_for
from tests.tokens import base64url, jwk

FRESH, USABLE = 3600, 24 * 3600


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def server():
    with KeyServer(jwk("one"), jwk("two")) as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(server, clock, monkeypatch):
    """Fetches follow each other after an hour: no test takes that long."""
    monkeypatch.setattr(keys, "BETWEEN_FETCHES", 3600.0)
    return KeyCache(server.url, clock)


@pytest.fixture
def impatient(monkeypatch):
    """Fetches may follow each other at once."""
    monkeypatch.setattr(keys, "BETWEEN_FETCHES", 0.0)


@pytest.fixture
def patient(monkeypatch):
    """Who waits for a slow fetch waits until it has ended."""
    for name in ("TIMEOUT", "WHOLE_FETCH"):
        monkeypatch.setattr(keys, name, 2.0 * FAULT_SECONDS)


def goes_down(server):
    server.goes_down()


def answers(fault):
    def use(server):
        server.fault = fault

    return use


def refuses(*entries):
    return answers(body(json.dumps({"keys": list(entries)}).encode()))


SLOW = answers(slow)
TROUBLE = {
    "down": goes_down,
    "slow by 30 s": SLOW,
    "broken": answers(broken),
    "HTML": answers(body(b"<!doctype html><title>Sign in</title>", Content_Type="text/html")),
    "10 MB": answers(body(json.dumps({"keys": [jwk("three")], "x": "x" * 10**7}).encode())),
    "64 KiB and a byte": answers(body(json.dumps({"keys": [jwk("three")]}).encode().ljust(65_537))),
    "an empty list": refuses(),
    "no list": answers(body(b'{"keys": "none"}')),
    "a list alone": answers(body(b"[]")),
    "no object": answers(body(b"1")),
    "nothing": answers(body(b"")),
    "truncated": answers(body(b'{"keys": [{"kty": "RSA", "n"')),
    "nested": answers(body(b"[" * 60_000)),
    "not UTF-8": answers(body(b'{"keys": "\xff"}')),
    "500": answers(body(b'{"keys": []}', 500)),
    "404 with keys": answers(body(json.dumps({"keys": [jwk("three")]}).encode(), 404)),
    "204": answers(body(b"", 204)),
    "a redirect": answers(body(b"", 302, Location="/elsewhere")),
    "unusable keys only": refuses(jwk("one", alg="RS512")),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_known_keys_stay_when_the_address_fails(impatient, patient, server, clock, name):
    cache = KeyCache(server.url, clock)
    known = cache.find("one")
    TROUBLE[name](server)
    clock.now += FRESH + 1
    for _ in range(3):
        assert cache.find("one") is known
    assert cache.find("three") is None
    assert cache.find("one") is known
    # nobody has waited for it
    assert cache.job.running or TROUBLE[name] is not SLOW
    server.released.set()
    wait_for(lambda: not cache.job.running)
    clock.now += USABLE - FRESH - 2
    assert cache.find("one") is known
    clock.now += 2
    with pytest.raises(KeysUnavailable):
        cache.find("one")
    assert set(server.requests) == {"/"}


@pytest.mark.parametrize("name", TROUBLE)
def test_the_address_fails_at_first(impatient, server, clock, name):
    cache = KeyCache(server.url, clock)
    TROUBLE[name](server)
    began = time.monotonic()
    with pytest.raises(KeysUnavailable):
        cache.find("one")
    assert time.monotonic() - began < FAULT_SECONDS / 2
    server.released.set()
    if name == "down":
        server.comes_up()
    server.fault = None
    wait_for(lambda: not cache.job.running)
    assert cache.find("one")
    assert set(server.requests) == {"/"}


def test_after_a_failure_nobody_waits_and_the_answer_says_when_to_come_back(server, cache):
    server.fault = slow
    with pytest.raises(KeysUnavailable):
        cache.find("one")
    wait_for(lambda: not cache.job.running)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(KeysUnavailable) as raised:
            cache.find("one")
        assert 0 < raised.value.retry_after <= 3600
    # if each of them waited, it would be 200 s
    assert time.monotonic() - began < 20
    assert len(server.requests) == 1


def test_a_cold_cache_fetches_once_for_all(server, cache):
    with ThreadPoolExecutor(50) as threads:
        assert all(threads.map(lambda _: cache.find("two"), range(50)))
    assert server.requests == ["/"]


def test_two_hundred_unknown_keys_cause_one_fetch(server, cache):
    cache.find("one")
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(cache.find, [f"unknown {n}" for n in range(200)]))
    assert found == [None] * 200
    # the time until the next one belongs to the fetch that found the known keys
    assert server.requests == ["/"]


def test_unknown_keys_cause_one_fetch_later_too(server, cache, monkeypatch):
    cache.find("one")
    monkeypatch.setattr(cache.job, "_not_before", 0.0)
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(cache.find, [f"unknown {n}" for n in range(200)]))
    assert server.requests == ["/", "/"]


def test_known_keys_do_not_wait_for_a_fetch(impatient, patient, server, clock):
    cache = KeyCache(server.url, clock)
    cache.find("one")
    server.fault = slow
    with ThreadPoolExecutor(20) as threads:
        unknown = [threads.submit(cache.find, f"unknown {n}") for n in range(20)]
        wait_for(lambda: len(server.requests) == 2)
        # one request waits at most: the others are told at once
        wait_for(lambda: sum(not future.done() for future in unknown) == 1)
        assert cache.find("one")
        assert sum(not future.done() for future in unknown) == 1
        server.released.set()
    assert len(server.requests) == 2


def test_a_new_key_is_found_and_an_old_one_forgotten(impatient, server, clock):
    cache = KeyCache(server.url, clock)
    cache.find("one")
    server.document = {"keys": [jwk("two"), jwk("three")]}
    assert cache.find("three")
    assert cache.find("one") is None


def test_keys_are_fetched_anew_in_the_background_after_an_hour(impatient, server, clock):
    cache = KeyCache(server.url, clock)
    cache.find("one")
    clock.now += FRESH - 1
    cache.find("one")
    assert len(server.requests) == 1
    server.document = {"keys": [jwk("three")]}
    clock.now += 2
    assert cache.find("one")
    wait_for(lambda: not cache.job.running)
    assert cache.find("one") is None
    assert cache.find("three")


def test_after_a_day_of_failures_the_first_good_answer_counts(impatient, server, clock):
    cache = KeyCache(server.url, clock)
    cache.find("one")
    clock.now += USABLE + 1
    assert cache.find("one")


@pytest.mark.parametrize("used_before", [False, True])
def test_every_process_fetches_for_itself_at_once_when_one_waits(server, cache, monkeypatch, used_before):
    monkeypatch.setattr("app.background.HEAD_START", 30.0)
    if used_before:
        cache.find("one")
    server.requests.clear()
    reads, writes = os.pipe()
    for _ in range(2):
        if os.fork() == 0:
            try:
                cache.job.wait(10)
                os.write(writes, b"y" if cache.job.ended and cache._known("one") else b"n")
            finally:
                os._exit(0)
        os.wait()
    assert os.read(reads, 10) == b"yy"
    assert len(server.requests) == 2
    assert cache.job.began == used_before


def test_health_checks_begin_the_work_once():
    done = []
    job = BackgroundJob(lambda: done.append("work"), 0.0)
    for _ in range(3):
        job.begin()
        job.wait(10)
    assert done == ["work"]


def test_an_answer_that_trickles_in_is_given_up(server, monkeypatch):
    monkeypatch.setattr(keys, "WHOLE_FETCH", 0.2)

    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not server.released.wait(0.02):
            handler.wfile.write(b" ")

    server.fault = trickle
    began = time.monotonic()
    with pytest.raises(OSError, match="not complete"):
        keys.fetch(server.url)
    assert time.monotonic() - began < 5


def test_a_first_fetch_that_takes_longer_than_it_may_is_not_waited_for(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(keys, "WHOLE_FETCH", 0.2)
    # the resolution of a name cannot be stopped
    monkeypatch.setattr(keys, "fetch", lambda _: released.wait(30))
    cache = KeyCache("http://127.0.0.1")
    began = time.monotonic()
    for _ in range(200):
        with pytest.raises(KeysUnavailable):
            cache.find("one")
    # if each of them waited, it would be 40 s
    assert 0.2 < time.monotonic() - began < 20
    assert cache.job.running
    released.set()


def test_the_whole_answer_may_have_64_kib(server):
    server.fault = body(b" " * 65_536)
    assert len(keys.fetch(server.url)) == 65_536
    server.fault = body(b" " * 65_537)
    with pytest.raises(OSError, match="more than 65536 bytes"):
        keys.fetch(server.url)


UNUSABLE = {
    "elliptic curve": {"kty": "EC", "kid": "x", "crv": "P-256", "x": "AA", "y": "AA"},
    "symmetric": {"kty": "oct", "kid": "x", "k": "AAAA"},
    "1024 bits": jwk("small", 1024),
    "2047 bits": jwk("one", n=base64url((2**2047 - 1).to_bytes(256))),
    "8193 bits": jwk("one", n=base64url((2**8192 + 1).to_bytes(1025))),
    "exponent 3": jwk("three", exponent=3),
    "for encryption": jwk("one", use="enc"),
    "another algorithm": jwk("one", alg="RS512"),
    "another kind": jwk("one", kty="EC"),
    "no id": jwk("one", kid=None),
    "id a number": jwk("one", kid=1),
    "no modulus": jwk("one", n=None),
    "modulus a number": jwk("one", n=1),
    "modulus not base64": jwk("one", n="\u00e9"),
    "exponent missing": jwk("one", e=None),
    "no object": "one",
    "null": None,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_keys_that_cannot_sign_with_rs256_are_left_out(name):
    document = {"keys": [UNUSABLE[name], jwk("good")]}
    assert list(parse_keys(json.dumps(document).encode())) == ["good"]


@pytest.mark.parametrize("changes", [{"use": None, "alg": None}, {"n": base64url((2**8191 + 1).to_bytes(1024))}])
def test_keys_that_may_be_used_are_taken(changes):
    assert list(parse_keys(json.dumps({"keys": [jwk("one", **changes)]}).encode())) == ["one"]


def test_no_more_than_twenty_keys_are_taken():
    document = {"keys": [jwk("one", kid=f"{n}") for n in range(21)]}
    assert list(parse_keys(json.dumps(document).encode())) == [f"{n}" for n in range(20)]


def test_a_thread_that_cannot_be_started_is_tried_again(impatient, patient, server, clock, monkeypatch):
    """A container may have no more of them than its limit of processes allows."""
    cache = KeyCache(server.url, clock)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        began = time.monotonic()
        with pytest.raises(KeysUnavailable):
            cache.find("one")
        assert time.monotonic() - began < 20
    assert cache.find("one")


def test_a_failure_is_logged_with_its_cause_and_the_address(server, cache, caplog):
    server.fault = body(b"", 500)
    with pytest.raises(KeysUnavailable):
        cache.find("one")
    assert f"could not be loaded from {server.url}: HTTPError: HTTP Error 500" in caplog.text
