"""The table and the picture of bench.attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HEAD = """# Slow clients

What a good client sees while others hold connections and send their header, send their body, or read their answer one
byte at a time. Settings are the defaults. Made by

```
make attack
```

with {nginx_line} and Linux {kernel} on {date}: {cpus} CPUs, which the attackers, the good client and other work shared
(load {load:.1f} before). The good client sends 100 requests a second: health checks, reads and writes, on new and on
kept connections. Whoever attacks here has only the CPUs of the service to do so with, so each attack goes against another
container of the same image first ("elsewhere"); the ratio compares with that. For bare Gunicorn it compares with no attack. `header`, `body` and `read` are `bench/attack_connections.py`, which opens again what the server closes; the
others are Debian's `slowhttptest`. Memory is the most that was seen, in MiB: proportional set size of the processes, and
the kernel's TCP buffers of the whole machine, both ends.

![p99 of good requests, without and during each attack](attacks.svg)

"""
TAIL = """
`read` asks for the largest item in ASCII, 66 kB, which the kernel takes off Nginx's hands. A longer answer waits in Nginx (24 KiB)
and in a file, and Nginx ends a connection on which nothing of it could be written for 10 s. The numbers behind the bounds are in `nginx/time-limits.conf`, `nginx/size-limits.conf` and
`nginx/proxy.conf`. A body that arrives at one byte every nine seconds is never cut off: Nginx knows no lowest rate. It
holds a connection and at most `MAX_BODY_SIZE` of disk, and nothing of Gunicorn.

How many connections there are is in the first line of the log: up to 16,384 for each of up to four CPUs, and no more than
memory (40 KiB each of half of it) and open files allow. Slow headers and answers that are not taken end by themselves;
slow bodies do not, so attackers who send those on as many connections as there are lock everybody else out. 1 CPU, 10,000
connections, 10,000 slow bodies from 8 addresses: none of 1,000 good requests was answered; with `CONNECTIONS_PER_IP=100` all
were, p99 4.4 ms. Behind a load balancer that needs `TRUSTED_PROXIES`, or all clients have its address.

What does fail: 10,000 readers of a 262 kB answer that come back at once whenever Nginx ends them. That is a thousand large
requests a second, and 9 of 1,500 good requests failed meanwhile (p99 472 ms; Nginx 492 MiB, TCP 1,283 MiB). `read` above
opens 300 a second. `CONNECTIONS_PER_IP` is against that.
"""
ROW = "| {0} | {1} | {2} | {3} | {4} | {5} | {6} | {7} |\n"


def write_report(phases: list[Any], machine: dict[str, Any], directory: Path | None) -> str:
    """Markdown, which is also written to `directory`/attacks.md, beside the picture."""
    text = HEAD.format(nginx_line=f"Nginx {machine['nginx']}", **machine) + table(phases) + TAIL
    if directory:
        directory.mkdir(exist_ok=True)
        (directory / "attacks.md").write_text(text)
        (directory / "attacks.svg").write_text(picture(phases))
    return text


def table(phases: list[Any]) -> str:
    lines = ROW.format(
        "target", "attack", "connections", "good requests", "failed", "p50 ms", "p99 ms (ratio)", "memory"
    )
    lines += ROW.format(*["---"] * 2, *["---:"] * 5, "---")
    for phase in phases:
        p99, calm = phase.percentile(0.99), calm_p99(phases, phase)
        ratio = f" ({p99 / calm:.2f})" if p99 and calm else ""
        memory = ", ".join(f"{what} {size:.0f}" for what, size in sorted(phase.memory.items()) if size >= 0.5)
        lines += ROW.format(
            phase.target, phase.name + ", elsewhere" * phase.elsewhere,
            f"{phase.connections:,}" if phase.connections else "", f"{phase.requests:,}",
            sum(phase.failures.values()), milliseconds(phase.percentile(0.5)), milliseconds(p99) + ratio, memory,
        )  # fmt: skip
    return lines


def calm_p99(phases: list[Any], attacked: Any) -> float | None:
    """The p99, in seconds, while the same attack met another container, or, where there is none, no attack was on."""
    if not attacked.connections or attacked.elsewhere:
        return None
    same = [phase for phase in phases if phase.target == attacked.target]
    calm = [phase for phase in same if phase.elsewhere and phase.name == attacked.name]
    calm = calm or [phase for phase in same if not phase.connections]
    return calm[0].percentile(0.99)


def milliseconds(seconds: float | None) -> str:
    return "none answered" if seconds is None else f"{seconds * 1000:.1f}"


def picture(phases: list[Any]) -> str:
    """Two bars an attack: p99 without and during it; red, full height, where requests failed."""
    pairs = [(calm_p99(phases, phase), phase) for phase in phases if phase.connections and not phase.elsewhere]
    held = [phase.percentile(0.99) for _, phase in pairs if not phase.failures]
    top = max([value for value in held if value] + [calm or 0 for calm, _ in pairs]) or 0.001
    height, left, step = 200, 60, 84
    width = left + step * len(pairs) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 110}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height + 110}" fill="white"/>',
        '<text x="10" y="16" font-size="13">p99 of good requests in ms: attack elsewhere (grey), here (blue), '
        "or failed requests (red)</text>",
    ]
    for line in range(5):
        y = 40 + height - height * line / 4
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{top * 1000 * line / 4:.0f}</text>')
    for number, (calm, during) in enumerate(pairs):
        x = left + step * number + 12
        failed = sum(during.failures.values()) / during.requests
        parts += [
            bar(x, calm, 0, top, height, "#999"),
            bar(x + 26, during.percentile(0.99), failed, top, height, "#36c"),
        ]
        label = f"{during.name.replace('slowhttptest', 'sht')}"
        parts.append(f'<text x="{x + 24}" y="{height + 58}" text-anchor="middle">{label}</text>')
        parts.append(
            f'<text x="{x + 24}" y="{height + 74}" text-anchor="middle" fill="#666">{during.connections:,}</text>'
        )
        parts.append(f'<text x="{x + 24}" y="{height + 90}" text-anchor="middle" fill="#666">{during.target}</text>')
    return "\n".join([*parts, "</svg>\n"])


def bar(x: float, seconds: float | None, failed: float, top: float, height: float, colour: str) -> str:
    part = 1.0 if failed else min(1.0, (seconds or 0) / top)
    label = f"{failed:.0%} failed" if failed else f"{(seconds or 0) * 1000:.0f}"
    y = 40 + height - height * part
    return (
        f'<rect x="{x}" y="{y:.1f}" width="24" height="{height * part:.1f}" fill="{"#c33" if failed else colour}"/>'
        f'<text x="{x + 12}" y="{y - 3:.1f}" text-anchor="middle" font-size="9">{label}</text>'
    )
