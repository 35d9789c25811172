"""A real Chromium without a window, and the service it looks at."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver

from tests.running import Stack, stack

# each by its first name that is there
PROGRAMS = (("chromium", "google-chrome"), ("chromedriver",))
INSTALL = "apt-get install --no-install-recommends chromium chromium-driver"


def find_programs() -> list[str]:
    """The paths of PROGRAMS, empty where there is none."""
    return [next(filter(None, map(shutil.which, names)), "") for names in PROGRAMS]


def install_browser() -> None:
    """With apt-get, where that is possible."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        script = f"(apt-get -qq update && {INSTALL} -qq -y) >/dev/null 2>&1"
        subprocess.run(["sh", "-c", script], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, timeout=300)


@pytest.fixture(scope="session")
def programs() -> list[str]:
    """The paths of the browser and its driver. Without them the tests are skipped; on CI they fail."""
    if not all(find_programs()):
        install_browser()
    paths = find_programs()
    missing = [names[0] for names, path in zip(PROGRAMS, paths, strict=True) if not path]
    if missing:
        reason = f"{' and '.join(missing)} missing: {INSTALL}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return paths


@pytest.fixture(scope="session")
def chromium(programs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium with a fresh profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,2000",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> webdriver.Chrome:
    """Chromium with an empty page and empty logs: what a page knew, such as a token, is gone with it."""
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    return chromium


@pytest.fixture(scope="session")
def service(aws: Any) -> Iterator[Stack]:
    """The programs as processes of this machine, with the local AWS."""
    with stack(**aws.environment) as running:
        yield running
