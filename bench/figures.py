"""docs/figures.md: a part for each command that measures, which it replaces when it is run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATH = ROOT / "docs/figures.md"
# in the order of the document
PARTS = ("compare", "growth", "neighbours", "start", "rolling", "chaos", "soak")
HEAD = """# Figures

Each part is what its command printed, and is replaced when that is run again. The machine is shared and noisy: compare
within a part. Slow clients have a page of their own: [attacks.md](attacks.md).
"""


def write(part: str, text: str, path: Path = PATH) -> None:
    """Replace one part of the document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text() if path.exists() else ""
    parts = dict(re.findall(r"<!-- (\w+) -->\n(.*?)(?=\n<!-- |\Z)", old, re.S)) | {part: text.strip() + "\n"}
    path.write_text(HEAD + "".join(f"\n<!-- {name} -->\n{parts[name]}" for name in PARTS if name in parts))


def table(title: str, command: str, rows: dict[str, object]) -> str:
    """A part of two columns."""
    lines = "\n".join(f"| {name} | {cell(value)} |" for name, value in rows.items())
    return f"## {title}\n\n`{command}`, {machine()}.\n\n| | |\n|---|---|\n{lines}\n"


def cell(value: object) -> str:
    """Dictionaries as a list of what they count."""
    return (
        ", ".join(f"{name}: {cell(each)}" for name, each in value.items())
        if isinstance(value, dict)
        else (f"{value:,}" if isinstance(value, int) else str(value))
    )


def machine() -> str:
    """When, on what, and of which commit."""
    names = (
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} × {next(names, platform.machine())}, {memory:.0f} GiB, "
        f"Linux {platform.release()}, commit {commit or 'unknown'}"
    )
