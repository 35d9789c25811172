"""Every case of the corpus, with a canary behind it on the same connection: through Gunicorn, and to the last byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.proxy.corpus import BARE, CANARY, CASES, Case, canary_request
from tests.proxy.raw import assert_problem, exchange, responses
from tests.proxy.upstreams import nginx_alone, seen
from tests.running import stack

# what one case has answered, and what of it has reached the application
Outcome = tuple[bytes, list[dict[str, Any]]]


def numbered(case: Case, number: int) -> bytes:
    """The bytes that are sent: the case's, with its number, and the canary's."""
    return case.sent.replace(b"{n}", b"%d" % number) + canary_request(number)


def replay(port: int, read: Callable[[], list[dict[str, Any]]]) -> dict[str, Outcome]:
    """Send all cases; what reached the application is told apart by the number in the target."""
    with ThreadPoolExecutor(8) as threads:
        sent = [numbered(case, number) for number, case in enumerate(CASES, 1000)]
        raw = list(threads.map(lambda data: exchange(port, data, end=True), sent))
    reached: dict[str, list[dict[str, Any]]] = {case.name: [] for case in CASES}
    for entry in read():
        number = re.search(r"[ty](\d{4})", entry["target"])[1]
        reached[CASES[int(number) - 1000].name].append(entry)
    return {case.name: (data, reached[case.name]) for case, data in zip(CASES, raw, strict=True)}


@pytest.fixture(scope="module")
def through_gunicorn(project, tmp_path_factory):
    file = tmp_path_factory.mktemp("recorder") / "seen"
    with stack(project, APP_MODULE="recorder:app", SEEN=str(file)) as running:
        yield replay(running.port, lambda: [json.loads(line) for line in file.read_text().splitlines()])


@pytest.fixture(scope="module")
def on_the_wire():
    with nginx_alone() as running:
        yield replay(running.port, lambda: [seen(data) for data in running.recorder.requests])


@pytest.fixture(scope="module")
def in_the_image(image):
    with nginx_alone(image=image) as running:
        yield replay(running.port, lambda: [seen(data) for data in running.recorder.requests])


def check(case: Case, outcome: Outcome) -> None:
    number = 1000 + CASES.index(case)
    raw, reached = outcome
    if BARE in case.answers:
        assert json.loads(raw)["status"] == case.answers[1]
        assert reached == []
        return
    answered = responses(raw)
    expected = [
        {
            "method": method,
            "target": target.replace("{n}", str(number)),
            "body": body.decode("latin-1"),
            "host": case.host,
        }
        for method, target, body in case.reaches
    ]
    if CANARY in case.answers:
        expected.append({"method": "GET", "target": f"/canary{number}", "body": "", "host": "canary"})
    assert reached == expected
    assert [response.status for response in answered] == [
        200 if status == CANARY else status for status in case.answers
    ]
    # each answer is to the request that it has the place of
    assert [response.json for response in answered if response.status == 200] == expected
    for response in answered:
        if response.status >= 400:
            assert_problem(response, response.status)


def test_there_are_enough_cases_and_each_has_a_name():
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_application_sees_what_was_meant_or_nothing(through_gunicorn, case):
    check(case, through_gunicorn[case.name])


# what Gunicorn refuses and Nginx passes on
GUNICORN_REFUSES = {
    "control in a value", "escape in a value", "DEL in a value", "two types of content"
}  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in GUNICORN_REFUSES], ids=lambda case: case.name)
def test_nginx_sends_one_request_with_one_length(on_the_wire, case):
    check(case, on_the_wire[case.name])


@pytest.mark.docker
@pytest.mark.parametrize("case", [c for c in CASES if c.name not in GUNICORN_REFUSES], ids=lambda case: case.name)
def test_the_image_s_nginx_does_the_same(in_the_image, case):
    check(case, in_the_image[case.name])
