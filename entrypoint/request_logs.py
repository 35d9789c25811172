"""What Gunicorn and the application log: one JSON object a line, with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from .logs import timestamp

# `id`: that of the request that this thread is busy with
current = threading.local()


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = getattr(current, "id", None)
        if request_id:
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class NoAccessLines(Logger):
    """Gunicorn's logger, unless somebody asks for an access log: Nginx writes that.

    Gunicorn prepares an access line for every request as soon as logging is configured at all: 10 % of a request.
    """

    error_log: logging.Logger

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        # two calls a request, which would each find out that their line is not wanted
        if not self.error_log.isEnabledFor(logging.DEBUG):
            self.debug = _nothing

    def setup(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        super().setup(cfg)
        self.error_log = own_logger("gunicorn.error", self.error_log.level)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        if self.cfg.accesslog:
            super().access(resp, req, environ, request_time)


def _nothing(*_: object, **__: object) -> None:
    pass


def own_logger(name: str, level: int) -> logging.Logger:
    """A logger that applications do not find: their dictConfig() or fileConfig() switches off all that are there."""
    logger, handler = logging.Logger(name, level), logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    return logger


def configuration(level: str) -> dict[str, Any]:
    """For logging.config.dictConfig: everything goes to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": {"level": level, "handlers": [], "propagate": True}},
    }


def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For sys.excepthook."""
    # with this one Gunicorn ends by itself: the traceback would say nothing more
    cause = None if issubclass(kind, HaltServer) else (kind, error, trace)
    own_logger("gunicorn", logging.CRITICAL).critical("%s: %s", kind.__name__, error, exc_info=cause)
