"""The tables of bench/compare.py: one column a target, and what was measured with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from bench import figures as document

from .containers import Limits

Rows = Iterable[tuple[str, list[str]]]


def setting(command: str, limits: Limits, seconds: float, versions: Mapping[str, str]) -> str:
    """When, on what and with what: the first paragraph."""
    pinned = f", on CPU {limits.cpuset}; the load and the stub on the others" if limits.cpuset else ""
    return (
        f"`{command}`, {document.machine()}, {seconds / 60:.0f} minutes. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Each container: {limits.cpus} CPU, {limits.memory} of memory{pinned}."
    )


def render(figures: Mapping[str, Any], plan: Any, paragraph: str) -> str:
    """The part of docs/figures.md. `figures` are compare.Figures by target."""
    first = next(iter(figures.values()))
    loads = list(first.loads)
    sections = [
        ("CPU, µs a request", "", _cpu_rows(figures, loads)),
        ("Requests a second", "", _load_rows(figures, loads, lambda f, *key: f"{f.of(*key, 'rps'):,.0f}")),
        (
            "Requests a second with all CPUs",
            "Each container has all CPUs of the machine, which the load and the stub share.",
            _all_cpus_rows(figures),
        ),
        ("Latency, ms: p50 / p99", "", _load_rows(figures, loads, _latency)),
        ("Failed requests", "Only where there were any.", _failure_rows(figures, loads)),
        ("Start, size, memory", "", _container_rows(figures)),
        (
            f"Slow clients: {plan.slow_clients:,} connections, one byte a second each",
            "Of 100 `GET /ping` a second over new connections, how many were answered within 2 s, and their p99.",
            _attack_rows(figures),
        ),
        (
            "Twice the capacity",
            "Twice the requests a second that 32 connections were answered just before, sent at that rate whatever is "
            f"answered. The capacity is the mean of before and after; medians of {plan.overload_rounds} rounds, but "
            "the 502s of all rounds. Lost: no answer within 2 s.",
            _overload_rows(figures),
        ),
    ]
    parts = ["## Side by side", paragraph, _explanation(plan), "![CPU a request](figures.svg)", _aims(figures)]
    for title, note, rows in sections:
        parts += [f"### {title}", *([note] if note else []), _table(list(figures), rows)]
    return "\n\n".join(parts) + "\n"


def _explanation(plan: Any) -> str:
    seconds = ", ".join(f"{each} s with {connections}" for connections, each in plan.seconds.items())
    return (
        f"Medians of {plan.rounds} rounds of {seconds} connections, each with new containers; in a round all targets follow "
        "one another, each when all others rest. CPU is that of the whole container, from its cgroup; the ratio is the median of the rounds' own ratios to "
        "this image. All but this image serve the same plain "
        "application (`bench/peers/plain`): a dictionary, `boto3.resource`, PyJWT. They check less, and each worker has a "
        "dictionary of its own. DynamoDB is a stub that answers after 5 ms. wrk sends the next request when the last is "
        "answered, so its latencies at 32 and 256 connections are those of a queue."
    )


def _table(columns: list[str], rows: Rows) -> str:
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines) if len(lines) > 2 else "None."


def _load_rows(figures: Mapping[str, Any], loads: list[tuple[str, int]], cell: Callable[..., str]) -> Rows:
    for work, connections in loads:
        cells = [cell(f, work, connections) if (work, connections) in f.loads else "" for f in figures.values()]
        yield f"`{work}`, {connections}", cells


def _cpu_rows(figures: Mapping[str, Any], loads: list[tuple[str, int]]) -> Rows:
    base = next(iter(figures.values()))

    def cell(each: Any, work: str, connections: int) -> str:
        text = f"{median(each.cpu(work, connections)):,.0f}"
        return text if each is base else f"{text} ({ratio(each, base, work, connections):.2f}×)"

    return _load_rows(figures, loads, cell)


def ratio(one: Any, other: Any, work: str, connections: int) -> float:
    """CPU a request of one target by another's: the median of pairs that were measured one after the other."""
    pairs = zip(one.cpu(work, connections), other.cpu(work, connections), strict=True)
    return median(a / b for a, b in pairs)


def _latency(each: Any, work: str, connections: int) -> str:
    return f"{each.of(work, connections, 'p50'):,.1f} / {each.of(work, connections, 'p99'):,.1f}"


def _all_cpus_rows(figures: Mapping[str, Any]) -> Rows:
    for work, connections in next(iter(figures.values())).all_cpus:
        found = [f.all_cpus.get((work, connections)) for f in figures.values()]
        yield f"`{work}`, {connections}", [f"{_rps(closed):,.0f}" if closed else "" for closed in found]


def _rps(closed: Iterable[Any]) -> float:
    return median(each.rps for each in closed)


def _failure_rows(figures: Mapping[str, Any], loads: list[tuple[str, int]]) -> Rows:
    def cell(each: Any, work: str, connections: int) -> str:
        closed = [found for _, found in each.loads[work, connections]]
        return f"{sum(c.failures for c in closed):,} of {sum(c.requests for c in closed):,}"

    for name, cells in _load_rows(figures, loads, cell):
        if any(not text.startswith("0 ") for text in cells if text):
            yield name, cells


def _container_rows(figures: Mapping[str, Any]) -> Rows:
    values = list(figures.values())
    yield "`docker run` to the first 200, ms", [f"{median(f.start_ms):,.0f}" for f in values]
    yield "image on disk, MB", [f"{f.disk / 1e6:.0f}" for f in values]
    if values[0].compressed:
        yield "image compressed, MB", [f"{f.compressed / 1e6:.0f}" for f in values]
    yield "memory, idle, MiB", [f"{f.idle / 2**20:.0f}" for f in values]
    yield "memory, after the load, MiB", [f"{f.loaded / 2**20:.0f}" for f in values]


def _attack_rows(figures: Mapping[str, Any]) -> Rows:
    titles = {"header": "slow header", "body": "slow body", "read": "slow reading"}
    for kind, title in titles.items():
        cells = [f.attacks.get(kind) for f in figures.values()]
        yield title, [f"{c[0]:.0%}, {c[1]:,.0f} ms" if c else "" for c in cells]


def _overload_rows(figures: Mapping[str, Any]) -> Rows:
    for work in next(iter(figures.values())).overloads:
        found = [f.overloads.get(work) for f in figures.values()]

        def row(cell: Callable[[Mapping[str, float]], str]) -> list[str]:
            return [cell(o) if o else "" for o in found]  # noqa: B023

        yield f"`{work}`: sent a second", row(lambda o: f"{o['sent']:,.0f}")
        yield "served a second (of the capacity)", row(lambda o: f"{o['served']:,.0f} ({o['share']:.2f}×)")
        yield "p99 of the served, ms", row(lambda o: f"{o['served_p99']:,.0f}")
        yield "refused with 503, p50 in ms", row(lambda o: f"{o['refused']:.0%}, {o['refused_p50']:,.0f}")
        yield "502; lost", row(lambda o: f"{o['502']:,.0f}; {o['lost']:.0%}")


def _aims(figures: Mapping[str, Any]) -> str:
    """The ratios that were aimed at, in this run."""
    names = list(figures)
    ours = figures[names[0]]
    gunicorn = figures.get("Gunicorn")
    many = next((figures[name] for name in names if name.startswith("Gunicorn, ")), None)
    uwsgi = figures.get("Nginx + uWSGI")
    connections = 32
    lines = ["| aim | measured |", "|---|---:|"]
    if many and uwsgi:
        for work in ("GET /item/<id>", "PUT /item"):
            lines += [
                f"| CPU, `{work}`, of Gunicorn with as many workers: at most 1.0× | {ratio(ours, many, work, connections):.2f}× |",
                f"| CPU, `{work}`, of uWSGI behind Nginx: at most 1.3× | {ratio(ours, uwsgi, work, connections):.2f}× |",
            ]
    if gunicorn:
        for work in ("GET /db-item/<id>", "PUT /db-item"):
            lines.append(
                f"| CPU, `{work}`, of Gunicorn: at most 0.75× | {ratio(ours, gunicorn, work, connections):.2f}× |"
            )
            most = max(connections for each, connections in ours.loads if each == work)
            times = ours.of(work, most, "rps") / gunicorn.of(work, most, "rps")
            aim = f"requests a second, `{work}`, {most} connections, of Gunicorn: at least 5×"
            lines.append(f"| {aim} | {times:.1f}× |")
            if (work, most) in ours.all_cpus:
                times = _rps(ours.all_cpus[work, most]) / _rps(gunicorn.all_cpus[work, most])
                lines.append(f"| … with all CPUs for each container | {times:.1f}× |")
    for work, found in ours.overloads.items():
        served = f"{found['share']:.2f}×, {found['502']:.0f} × 502"
        lines.append(f"| served at twice the capacity, `{work}`: at least 0.9×, no 502 | {served} |")
    for kind, (served, _) in ours.attacks.items():
        other = f", Gunicorn {gunicorn.attacks[kind][0]:.0%}" if gunicorn else ""
        lines.append(f"| answered during slow {kind}: all | {served:.0%}{other} |")
    return "\n".join(lines)
