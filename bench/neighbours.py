"""Latency of quick requests while most threads are busy with slow ones: this project's worker class and Gunicorn's own.

    python -m bench.neighbours      # two minutes; into docs/figures.md

Needs a Docker engine. Of two workers with eight threads each, twelve are kept busy with waiting, or four with computing on
one CPU; two clients ask for something quick.
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
import threading, time
from app import create_app

app = create_app()

@app.get("/wait")
def wait():
    threading.Event().wait(0.5)
    return "waited"

@app.get("/compute")
def compute():
    until = time.thread_time() + 0.03
    while time.thread_time() < until:
        pass
    return "computed"
"""
# what the others ask for, how many they are, and on what
SLOW: dict[str, tuple[str, int, list[str]]] = {
    "wait 0.5 s": ("/wait", 12, []),
    "compute for 30 ms, one CPU": ("/compute", 4, ["--cpuset-cpus", "0"]),
}
QUICK, SECONDS, ROUNDS = 2, 5, 4
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


def measure(app: Path, path: str, count: int, options: list[str], **environment: str) -> list[float]:
    """The latencies of the quick ones."""
    mount = ["-v", f"{app}:/app/hello.py:ro"]
    running = Container(*mount, *options, APP_MODULE="hello:app", WEB_CONCURRENCY="2", **environment)
    try:
        running.wait_ready()
        until, latencies = time.monotonic() + SECONDS, []
        asked = [(path, [])] * count + [("/item?limit=1", latencies)] * QUICK
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
        found: dict[tuple[str, str], list[float]] = {(name, slow): [] for slow in SLOW for name in CLASSES}
        for _ in range(ROUNDS):
            for name, slow in found:
                found[name, slow] += measure(app, *SLOW[slow], **CLASSES[name])
    rows: dict[str, object] = {
        f"{SLOW[slow][1]} others {slow}, worker class: {name}": ", ".join(
            f"p{share} {sorted(latencies)[len(latencies) * share // 100]:.1f} ms" for share in (50, 90, 99)
        )
        for (name, slow), latencies in found.items()
    }
    text = figures.table("Quick requests beside slow ones, 16 threads", "python -m bench.neighbours", rows)
    print(text)
    figures.write("neighbours", text)


if __name__ == "__main__":
    main()
