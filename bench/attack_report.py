"""The table and the picture of bench.attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HEAD = """# Slow clients

What a good client sees while others hold connections and send their header, send their body, or read their answer one
byte at a time, with default settings. Made by

```
make attack
```

with {nginx_line} and Linux {kernel} on {date}: {cpus} CPUs for the service, the good client, the attackers and other work
(load {load:.1f} before). The good client sends 100 requests a second, on new and on kept connections: health checks, reads and
writes of `/item`, and of `/db-item` with a DynamoDB that answers after 5 ms. It is measured just before each attack, and from
the attack's first connections until 20 s after all are open. Real attackers have machines of their own; here they get a quarter
of a CPU, in pieces of 10 ms, with the least weight ([why](decisions.md#what-slow-clients-are-measured-with)).

`header`, `body` and `read` are `bench/attack_connections.py`, the others 40 processes of Debian's `slowhttptest` with 250
connections each. All come back when they are thrown out. Connections and memory are the most that was seen. Nginx ends
the connections of `slowhttptest -H` after 10 s, and its quarter of a CPU may not be enough to have 10,000 at once. Bare
Gunicorn's kernel takes 2,000 of the 10,000; of those that wait, only the client's end exists. Memory is the processes'
proportional set size in MiB, and the kernel's TCP buffers of the whole machine, both ends.

![p99 of good requests, before and during each attack](attacks.svg)

"""
TAIL = """
Without `/db-item` the p99 is lower, and what an attack adds is a larger part of it.

`read` asks for the largest item in ASCII, 66 kB, all of which fits into the kernel's buffers. A longer answer waits in
Nginx (24 KiB) and in a file, and Nginx ends a connection on which nothing of it could be written for 10 s. These limits
are in `nginx/time-limits.conf`, `nginx/size-limits.conf` and `nginx/proxy.conf`. A body that arrives at one byte every
nine seconds is never cut off, since Nginx has no lowest rate. It holds a connection and at most `MAX_BODY_SIZE` of disk,
and nothing of Gunicorn.

How many connections the container takes is in the first line of the log: up to 16,384 for each of up to four CPUs, as
far as open files and half of the memory (40 KiB each) allow. Slow headers, and answers that nobody reads, end by
themselves; slow bodies do not, so attackers who hold all connections with them lock everybody else out. 1 CPU, 10,000
connections, 10,000 slow bodies from 8 addresses: none of 1,000 good requests was answered; with `CONNECTIONS_PER_IP=100`
all were, p99 4.4 ms. Behind a load balancer that needs `TRUSTED_PROXIES`, or all clients have its address.

What does fail: 10,000 readers of a 262 kB answer who come back at once whenever Nginx ends their connections. That is a thousand large
requests a second, and 9 of 1,500 good requests failed meanwhile (p99 472 ms; Nginx 492 MiB, TCP 1,283 MiB). `read` above
opens 200 a second. `CONNECTIONS_PER_IP` is against that.
"""
COLUMNS = (
    "target", "attack", "connections", "good requests", "failed", "p50, ms", "p99, ms",
    "p99 without `/db-item`, ms", "memory, MiB",
)  # fmt: skip


def write_report(attacks: list[Any], machine: dict[str, Any], directory: Path | None) -> str:
    """Markdown, which is also written to `directory`/attacks.md, beside the picture."""
    text = HEAD.format(nginx_line=f"Nginx {machine['nginx']}", **machine) + table(attacks) + TAIL
    if directory:
        directory.mkdir(exist_ok=True)
        (directory / "attacks.md").write_text(text)
        (directory / "attacks.svg").write_text(picture(attacks))
    return text


def table(attacks: list[Any]) -> str:
    lines = row(*COLUMNS) + row("---", "---", *["---:"] * 6, "---")
    for attack in attacks:
        phase = attack.during
        lines += row(
            attack.target, attack.name, f"{phase.connections:,}", f"{phase.requests:,}", f"{sum(phase.failures.values()):,}",
            change(attack, 0.5), change(attack, 0.99), change(attack, 0.99, database=False),
            ", ".join(f"{what} {size:.0f}" for what, size in sorted(phase.memory.items()) if size >= 0.5),
        )  # fmt: skip
    return lines


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def change(attack: Any, part: float, database: bool = True) -> str:
    """A percentile in ms before and during an attack, and how many times as long."""
    before, during = (phase.percentile(part, database) for phase in (attack.before, attack.during))
    ratio = f" ({during / before:.2f}×)" if before and during else ""
    return f"{milliseconds(before)} → {milliseconds(during)}{ratio}"


def milliseconds(seconds: float | None) -> str:
    return "none answered" if seconds is None else f"{seconds * 1000:.1f}"


def picture(attacks: list[Any]) -> str:
    """Two bars an attack: p99 before and during it; red, full height, where requests failed."""
    held = [
        phase.percentile(0.99) for attack in attacks for phase in (attack.before, attack.during) if not phase.failures
    ]
    top = max(value or 0 for value in held) or 0.001
    height, left, step = 200, 60, 84
    width = left + step * len(attacks) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 94}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height + 94}" fill="white"/>',
        '<text x="10" y="16" font-size="13">p99 of good requests in ms: before (grey) and during (blue) an attack, '
        "or failed requests (red)</text>",
    ]
    for line in range(5):
        y = 40 + height - height * line / 4
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{top * 1000 * line / 4:.0f}</text>')
    for number, attack in enumerate(attacks):
        x = left + step * number + 12
        failed = sum(attack.during.failures.values()) / attack.during.requests
        parts += [
            bar(x, attack.before.percentile(0.99), 0, top, height, "#999"),
            bar(x + 26, attack.during.percentile(0.99), failed, top, height, "#36c"),
            f'<text x="{x + 24}" y="{height + 58}" text-anchor="middle">{attack.name.replace("slowhttptest", "sht")}</text>',
            f'<text x="{x + 24}" y="{height + 74}" text-anchor="middle" fill="#666">{attack.target}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def bar(x: float, seconds: float | None, failed: float, top: float, height: float, colour: str) -> str:
    part = 1.0 if failed else min(1.0, (seconds or 0) / top)
    label = f"{failed:.0%} failed" if failed else f"{(seconds or 0) * 1000:.0f}"
    y = 40 + height - height * part
    return (
        f'<rect x="{x}" y="{y:.1f}" width="24" height="{height * part:.1f}" fill="{"#c33" if failed else colour}"/>'
        f'<text x="{x + 12}" y="{y - 3:.1f}" text-anchor="middle" font-size="9">{label}</text>'
    )
