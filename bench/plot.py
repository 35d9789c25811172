"""docs/figures.svg: CPU a request of every target, one group of bars for each kind of work, as plain SVG."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

COLOURS = ("#0b6e4f", "#b5651d", "#d9a05b", "#4a6fa5", "#8e6bbf", "#9a9a9a")
WIDTH, LABELS, ROW, GAP, TOP = 860, 210, 15, 14, 58


def figure(figures: Mapping[str, Any], connections: int) -> str:
    """`figures` are compare.Figures by target; the medians at so many connections are drawn."""
    works = [work for work, each in next(iter(figures.values())).loads if each == connections]
    bars = {
        work: {name: median(f.cpu(work, connections)) for name, f in figures.items() if f.cpu(work, connections)}
        for work in works
    }
    longest = max(value for group in bars.values() for value in group.values())
    parts, y = _legend(list(figures), connections), TOP
    colours = dict(zip(figures, COLOURS, strict=False))
    for work, group in bars.items():
        middle = y + len(group) * ROW / 2 + 4
        parts.append(f'<text x="{LABELS - 10}" y="{middle:.0f}" text-anchor="end">{escape(work)}</text>')
        for name, value in group.items():
            length = value / longest * (WIDTH - LABELS - 70)
            parts.append(
                f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{ROW - 3}" fill="{colours[name]}">'
                f"<title>{escape(name)}: {value:,.0f} µs</title></rect>"
                f'<text x="{LABELS + length + 5:.1f}" y="{y + ROW - 5}" font-size="10">{value:,.0f}</text>'
            )
            y += ROW
        y += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        'font-family="sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _legend(names: list[str], connections: int) -> list[str]:
    title = f"CPU of the whole container, µs a request, {connections} connections (less is better)"
    parts, x = [f'<text x="10" y="20" font-size="14" font-weight="bold">{title}</text>'], 10.0
    for name, colour in zip(names, COLOURS, strict=False):
        parts.append(f'<rect x="{x:.0f}" y="32" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15:.0f}" y="42" font-size="11">{escape(name)}</text>')
        x += 32 + 6.2 * len(name)
    return parts
