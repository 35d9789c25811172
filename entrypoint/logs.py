"""Log lines: one JSON object a line on standard error, whatever a program printed."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

# 2026/11/22 12:00:00 [warn] 12#12: *1 an upstream response is buffered …
_NGINX = re.compile(r"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d |nginx: )\[(\w+)\] (?:\d+#\d+: )?(.*)")
_NGINX_LEVELS = {"emerg": "critical", "alert": "critical", "crit": "critical", "warn": "warning", "notice": "info"}
# … while reading client request headers, client: 127.0.0.1, server: localhost, request: "GET /a?b HTTP/1.1", host: "c"
# Before that, what a client sent stands in quotes, and quotes in it are not escaped. Only those around a path
# (nginx/static.conf sees to it) and around the name of a zone are known to be pairs
_NGINX_CLIENT = re.compile(
    r'([^"]*?(?:(?:\(\)|zone) "[^"]*"[^"]*?)?), client: ([^,]*)(?:, server: [^,]*, request: "([A-Z_-]+ [^\s?#"]*))?.*'
)
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = re.compile(r"\n+(?:The above exception was the direct cause|During handling of the above exception).*\n+")
# down to the exception itself: a SyntaxError shows its place as one more frame
_FRAMES = re.compile(re.escape(_TRACEBACK) + r"\n(?:(?:[ \t].*)?\n)*")
_FRAME = re.compile(r'^ *File "([^"]+)", line (\d+)', re.M)
# how long before its end a program speaks of the cause
CAUSE_SECONDS = 5
# in characters
LONGEST_CAUSE = 300
# a line that does not end is cut, in bytes
LONGEST_LINE = 2**18
LEVELS = ("debug", "info", "warning", "error", "critical")


def write(level: str, logger: str, message: str) -> None:
    """Write one line of our own."""
    line = {"time": timestamp(datetime.now(UTC)), "level": level, "logger": logger, "message": message}
    print(json.dumps(line), file=sys.stderr, flush=True)


def timestamp(moment: datetime) -> str:
    """RFC 3339, in milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Trouble(NamedTuple):
    time: float
    kind: str
    text: str


class ProgramOutput:
    """What one program prints on one channel: JSON lines pass as they are, others are wrapped. Nginx prints no JSON
    here: a line that looks like it is a client's.
    """

    def __init__(self, program: str, level: str) -> None:
        self.program = program
        self.level = level
        self._troubles: deque[_Trouble] = deque(maxlen=200)
        self._rest = b""
        # Nginx has spoken of a client: what does not begin like a line of its own may be the rest of one that a line
        # break in a path has split, with the query in it
        self._heard_clients = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes; whole lines are written at once, the rest waits for its end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._line(line.decode(errors="backslashreplace").rstrip())

    def close(self) -> None:
        """The program has ended: what waits has no more to come."""
        self.feed(b"\n")
        self._heard_clients = False

    def cause(self) -> str:
        """Why the program, which has just ended, did so: of what it said in its last seconds the first exception it
        logged, otherwise the traceback or else the last line it printed rather than logged, otherwise the last that
        speaks of trouble.
        """
        recent = [trouble for trouble in self._troubles if trouble.time > time.monotonic() - CAUSE_SECONDS]
        exceptions = [trouble.text for trouble in recent if trouble.kind == "exception"]
        # not a bracket that closes
        printed = [trouble.text for trouble in recent if trouble.kind == "printed" and re.search(r"\w", trouble.text)]
        if any(_TRACEBACK in text for text in printed):
            printed = [_summary("\n".join(printed))]
        others = [trouble.text for trouble in recent]
        return next(iter([*exceptions[:1], *printed[-1:], *others[-1:]]), "it gave no reason")

    def _line(self, line: str) -> None:
        if not line or (self._heard_clients and not _NGINX.match(line)):
            return
        record = None if self.program == "nginx" else _json_object(line)
        if record is None:
            level, message = self._parse(line)
            write(level, self.program, message)
        else:
            level, message = str(record.get("level", self.level)), str(record.get("message", line))
            if "?" in message and str(record.get("logger")).startswith("gunicorn"):
                # of requests it could not read, or whose application failed
                message = re.sub(r"(/[^\s?]*)\?\S*", r"\1", message)
                line = json.dumps(record | {"message": message})
            print(line, file=sys.stderr, flush=True)
        exception = str((record or {}).get("exception", "")).strip()
        if exception:
            self._troubles.append(_Trouble(time.monotonic(), "exception", _summary(exception)))
        elif level in ("warning", "error", "critical"):
            self._troubles.append(
                _Trouble(time.monotonic(), "logged" if record else "printed", message[:LONGEST_CAUSE])
            )

    def _parse(self, line: str) -> tuple[str, str]:
        nginx = self.program == "nginx" and _NGINX.fullmatch(line)
        if nginx:
            self._heard_clients = self._heard_clients or nginx[2].startswith("*")
            level = _NGINX_LEVELS.get(nginx[1], nginx[1] if nginx[1] in LEVELS else self.level)
            return level, _without_secrets(nginx[2])
        return self.level, line


def _without_secrets(message: str) -> str:
    """What Nginx says about a request, without the query, the Referer, and what it quotes of a header."""
    if not message.startswith("*"):
        # about no connection
        return message
    about = _NGINX_CLIENT.fullmatch(message)
    # a second one: it comes from a location that lets quotes into its paths
    if not about or ('"' in about[1] and message.count(", client: ") > 1):
        text, quote, _ = message.partition('"')
        return text + ("…" if quote else "")
    return f"{about[1]}, client: {about[2]}" + (f', request: "{about[3]}"' if about[3] else "")


def _summary(text: str) -> str:
    """The exception that a traceback ends with, in one line, and the last line of the project's own that led to it."""
    # an ExceptionGroup's is drawn as a tree
    text = re.sub(r"^  [|+] ", "", text, flags=re.M)
    exception = " ".join(_FRAMES.split(_CHAINED.split(text)[-1], maxsplit=1)[-1].split())
    if len(exception) > LONGEST_CAUSE:
        # what it is stands at the beginning, and what to do about it often at the end
        exception = f"{exception[: LONGEST_CAUSE * 2 // 3]} … {exception[-LONGEST_CAUSE // 3 :]}"
    project = os.getcwd().rstrip("/") + "/"
    lines = [
        line
        for line in _FRAME.findall(text)
        if line[0].startswith(project) and not line[0].startswith(f"{project}entrypoint/")
    ]
    return exception + (f" ({lines[-1][0]}, line {lines[-1][1]})" if lines else "")


def _json_object(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _refuse(constant: str) -> None:
    """NaN and Infinity are Python's, not JSON's."""
    raise ValueError(constant)
