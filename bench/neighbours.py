"""Latency of quick requests while most threads are busy with slow ones: this project's worker class and Gunicorn's own.

    python -m bench.neighbours      # 40 s; into docs/figures.md

Needs a Docker engine. Of two workers with eight threads each, twelve are kept busy; two clients ask for something quick.
"""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from pathlib import Path

from bench import figures
from tests.running import Container

APP = """
import threading
from app import create_app

app = create_app()

@app.get("/slow")
def slow():
    threading.Event().wait(0.5)
    return "slow"
"""
SLOW, QUICK, SECONDS, ROUNDS = 12, 2, 5, 4
CLASSES = {"this project's": {}, "gthread": {"GUNICORN_CMD_ARGS": "--worker-class gthread"}}


def ask(port: int, path: str, until: float, latencies: list[float]) -> None:
    """One request after the other; appends the milliseconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while (begin := time.monotonic()) < until:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status
        latencies.append((time.monotonic() - begin) * 1000)
        threading.Event().wait(0.005)


def measure(app: Path, **environment: str) -> list[float]:
    """The latencies of the quick ones."""
    running = Container("-v", f"{app}:/app/hello.py:ro", APP_MODULE="hello:app", WEB_CONCURRENCY="2", **environment)
    try:
        running.wait_ready()
        until, latencies = time.monotonic() + SECONDS, []
        asked = [("/slow", [])] * SLOW + [("/item?limit=1", latencies)] * QUICK
        threads = [threading.Thread(target=ask, args=(running.port, path, until, found)) for path, found in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies
    finally:
        running.remove()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        app = Path(directory) / "hello.py"
        app.write_text(APP)
        found: dict[str, list[float]] = {name: [] for name in CLASSES}
        for _ in range(ROUNDS):
            for name, environment in CLASSES.items():
                found[name] += measure(app, **environment)
    rows: dict[str, object] = {
        f"worker class: {name}": ", ".join(
            f"p{share} {sorted(latencies)[len(latencies) * share // 100]:.1f} ms" for share in (50, 90, 99)
        )
        for name, latencies in found.items()
    }
    title = f"Quick requests while {SLOW} of 16 threads are busy"
    text = figures.table(title, "python -m bench.neighbours", rows)
    print(text)
    figures.write("neighbours", text)


if __name__ == "__main__":
    main()
