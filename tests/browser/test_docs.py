"""GET / and GET /docs as a person sees them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.running import Stack, wait_for


def requested(browser: Chrome) -> list[str]:
    """The addresses of everything that pages have asked for since the last call, over any network."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    urls = [params["request"]["url"] for params in sent]
    return [url for url in urls if urlsplit(url).scheme not in ("data", "blob", "chrome")]


def console(browser: Chrome) -> list[str]:
    """What the console has: errors, and what a policy or the network has refused."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def hosts(urls: list[str]) -> set[str]:
    return {urlsplit(url).netloc for url in urls}


def find(root: Chrome | WebElement, selector: str) -> WebElement:
    """The element, once it is there."""
    return wait_for(lambda: root.find_elements(By.CSS_SELECTOR, selector), 20, selector)[0]


def operation(browser: Chrome, method: str, path: str) -> WebElement:
    """The block of an operation."""
    find(browser, f'.opblock-{method} [data-path="{path}"]')
    blocks = browser.find_elements(By.CSS_SELECTOR, f".opblock-{method}")
    return next(block for block in blocks if block.find_elements(By.CSS_SELECTOR, f'[data-path="{path}"]'))


def try_it(browser: Chrome, method: str, path: str) -> tuple[str, Any]:
    """Open the operation, press "Try it out" and "Execute": the status and the answer that the page shows."""
    block = operation(browser, method, path)
    find(block, ".opblock-summary-control").click()
    find(block, ".try-out__btn").click()
    find(block, ".execute").click()
    status = find(block, ".live-responses-table .response .response-col_status").text.split()[0]
    return status, json.loads(find(block, ".live-responses-table .response .highlight-code code").text)


def test_the_index_leads_to_the_docs(browser: Chrome, service: Stack) -> None:
    browser.get(f"{service.base}/")
    assert browser.title == "Flask CRUD API"
    find(browser, 'a[href="docs"]').click()
    find(browser, ".opblock-put")
    assert browser.current_url == f"{service.base}/docs"
    assert console(browser) == []


def test_the_page_shows_every_operation_and_asks_only_this_host(browser: Chrome, service: Stack) -> None:
    browser.get(f"{service.base}/docs")
    paths = service.get("/openapi.json").json["paths"]
    expected = sum(method in ("get", "put", "post", "delete") for path in paths.values() for method in path)
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".opblock")) == expected, 20)
    asked = requested(browser)
    assert f"{service.base}/openapi.json" in asked
    assert hosts(asked) == {urlsplit(service.base).netloc}
    assert console(browser) == []


def authorize(browser: Chrome, token: str) -> None:
    find(browser, ".btn.authorize").click()
    find(browser, ".auth-container input").send_keys(token)
    find(browser, ".auth-btn-wrapper .authorize").click()
    find(browser, ".auth-btn-wrapper .btn-done").click()


@pytest.mark.parametrize("path", ["/item", "/db-item", "/authenticated-item"])
def test_a_put_that_is_tried_creates_an_item(browser: Chrome, service: Stack, aws: Any, path: str) -> None:
    browser.get(f"{service.base}/docs")
    token = aws.token("alice")
    if path == "/authenticated-item":
        authorize(browser, token)
    status, item = try_it(browser, "put", path)
    assert status == "201"
    assert service.get(f"{path}/{item['id']}", Authorization=f"Bearer {token}").json == item
    assert hosts(requested(browser)) == {urlsplit(service.base).netloc}
    assert console(browser) == []
    if path == "/item":
        browser.refresh()
        status, another = try_it(browser, "put", path)
        assert (status, another["id"] == item["id"]) == ("201", False)


def test_without_a_token_the_page_shows_why_it_is_refused(browser: Chrome, service: Stack) -> None:
    browser.get(f"{service.base}/docs")
    status, problem = try_it(browser, "put", "/authenticated-item")
    assert (status, problem["title"]) == ("401", "Unauthorized")


def test_the_policy_lets_no_script_of_others_run(browser: Chrome, service: Stack) -> None:
    """The page's own policy, seen at work: neither a script in the page nor a request elsewhere."""
    browser.get(f"{service.base}/docs")
    find(browser, ".opblock-put")
    assert console(browser) == []
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'document.title = \"taken over\"';"
        "document.body.append(script); fetch('http://localhost:9/').catch(() => {});"
    )
    refused = wait_for(lambda: [line for line in console(browser) if "Content Security Policy" in line])
    assert browser.title == "Flask CRUD API"
    assert refused
