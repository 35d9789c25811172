"""What is said of an application that Gunicorn could not load, or that is none: what was looked for, and where. And of
one that has begun what does not survive a fork.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

# of Gunicorn, in every version: the module is there, and what is asked of it is not
_NOT_IN_MODULE = re.compile(r"Failed to (find|parse)|Application object must be|Function reference must be")
# what `refusal` says, as it is printed or as a traceback ends
_REFUSAL = re.compile(r"(?:[\w.]+AppImportError: )?(APP_MODULE=.*?)(?: \(/.*, line \d+\))?")
_MODULE_MISSING = re.compile(r"No module named '([\w.]+)'")
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")
_MAY_NOT_WRITE = re.compile(r"Permission denied|Read-only file system|unable to open database file|readonly database")
_CONTAINER_FILES = {
    "Dockerfile", "nginx", "supervisord.conf", "gunicorn.conf.py", "entrypoint", "build.yml", "release.yml",
    "__pycache__",
}  # fmt: skip
NAMES = 12


def explain(cause: str, app_module: str, directory: Path) -> str:
    """`cause`, the reason why Gunicorn ended, with what was looked for and where, if it is about the application."""
    cause = cause.rstrip(".")
    if refused := _REFUSAL.fullmatch(cause):
        return refused[1]
    missing = _MODULE_MISSING.search(cause)
    is_application = missing and f"{app_module.split(':')[0]}.".startswith(f"{missing[1]}.")
    if is_application or _NOT_IN_MODULE.search(cause):
        found = contents(directory)
        return (
            f"{cause}. APP_MODULE={app_module} was looked for in {directory}, which has {found}, and among the "
            "installed packages"
        )
    if missing:
        return (
            f"{cause}. APP_MODULE={app_module} needs it; it was looked for in {directory} and among the installed "
            "packages: is it in requirements.txt or pyproject.toml?"
        )
    if _EXCEPTION.match(cause):
        hint = ": is what it writes in WRITABLE_DIRECTORIES?" if _MAY_NOT_WRITE.search(cause) else ""
        return f"{cause}, while APP_MODULE={app_module} was loaded from {directory}{hint}"
    return cause


def install() -> None:
    """Have Gunicorn end when what it has loaded is no application: every request would be a 500."""
    # not for process 1, which imports this module too
    from gunicorn import util
    from gunicorn.app.wsgiapp import WSGIApplication
    from gunicorn.errors import AppImportError

    def load(self: Any) -> Any:
        application = util.import_app(self.app_uri)
        if reason := refusal(application, self.app_uri) or unusable_threads(self.cfg.worker_class_str, self.app_uri):
            # Gunicorn's workers print it, and then the line's end: both at once, or another's words come between them
            raise AppImportError(f"{reason}\n")
        return application

    WSGIApplication.load_wsgiapp = load


def refusal(application: Callable[..., Any], app_module: str) -> str:
    """Why this cannot be called as an application is, with environ and start_response (PEP 3333); "" if it can.

    Also if it does not say how it is called, and for create_app(name, testing=False): applications look like that, too.
    """
    try:
        # what a decorator has made is called itself, whatever it stands for
        signature = inspect.signature(application, follow_wrapped=False)
    except Exception:
        # an object may do anything when it is asked
        return ""
    if accepts(signature, 2) and not (isinstance(application, FunctionType) and first_is_optional(signature)):
        return ""
    fewest = next((count for count in (0, 1) if accepts(signature, count)), None)
    if fewest is None or not (inspect.isroutine(application) or inspect.isclass(application)) or "(" in app_module:
        return f"APP_MODULE={app_module} takes {signature}, and a WSGI application takes (environ, start_response)"
    module, _, name = app_module.partition(":")
    call = f"{module}:{name or 'application'}({'…' if fewest else ''})"
    return f"APP_MODULE={app_module} is a function that makes an application: did you mean APP_MODULE={call}?"


def unusable_threads(worker_class: str, app_module: str) -> str:
    """Why threads of this process cannot each wait by themselves, if the workers are made of them; "" if they can.

    Those of gevent and eventlet would all stand still while one waits for the next connection.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    replaced = (gevent and gevent.is_module_patched("threading")) or (eventlet and eventlet.is_monkey_patched("thread"))
    if not replaced or worker_class != "entrypoint.worker.Worker":
        return ""
    return (
        f"APP_MODULE={app_module} replaces Python's threads, which the workers are made of: leave out gevent's "
        'monkey.patch_all() or eventlet.monkey_patch(). Flask-SocketIO works with async_mode="threading"'
    )


def accepts(signature: inspect.Signature, count: int) -> bool:
    """Whether it can be called with so many arguments."""
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def first_is_optional(signature: inspect.Signature) -> bool:
    """Whether the first parameter has a default, which environ never needs: create_app(config=None, testing=False)."""
    first = next(iter(signature.parameters.values()))
    return first.default is not first.empty and first.name != "environ"


def begun() -> str:
    """What this process, which workers are about to be forked from, has begun and they will not have for themselves."""
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    ports = [str(port) for port in connected_ports()]
    found = {"started threads, which no worker has: ": threads, "opened connections, which all share: to port ": ports}
    return ", and ".join(said + ", ".join(names) for said, values in found.items() if (names := sorted(set(values))))


def connected_ports() -> Iterator[int]:
    """The servers' ports, of the TCP connections of this process. None where the system is not Linux.

    Without those to 169.254.0.0/16, where boto3 asks AWS for credentials when a client is made, once in hours.
    """
    with contextlib.suppress(OSError):
        mine = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_socket()}
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
                _, _, server, state, *_, inode = line.split()[:10]
                address, port = server.split(":")
                if state == "01" and f"socket:[{inode}]" in mine and not re.fullmatch("....FEA9", address):
                    yield int(port, 16)


def contents(directory: Path) -> str:
    """The files and folders that may be an application's, for a person to read."""
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in directory.iterdir()
        if path.name not in _CONTAINER_FILES and not path.name.startswith(".")
    )
    return ", ".join([*names[:NAMES], *(["…"] if len(names) > NAMES else [])]) or "nothing of its own"
