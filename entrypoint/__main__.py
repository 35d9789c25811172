"""The container's first process: validates the environment, prepares the run-time directory, runs the programs.

With arguments it becomes that command.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path

from . import logs
from .drain import Drain
from .environment import SettingError
from .limits import read_limits
from .nginx import NginxError, prepare_nginx, temporary_directory
from .output import PatientStream
from .settings import Settings
from .watch import Watch

CONFIGURATION = "supervisord.conf"
PRESTART = "prestart.sh"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# bash rather than sh, and sourced rather than run: what it exports reaches the application; a change of directory does
# not
_RUN_PRESTART = f"""
set -e
go_on() {{
  cd "$0"
  PRESTART_DONE=1 exec env --block-signal={",".join(number.name for number in STOP_SIGNALS)} "$@"
}}
say() {{
  printf '{{"time": "%s", "level": "%s", "logger": "entrypoint", "message": "%s"}}\\n' "$(date -u +%FT%TZ)" "$@" >&2
}}
# bash waits for the command that runs, and nothing is begun after it; without this it would go on as after an exit 0
trap 'trap - EXIT; say info "stopped during {PRESTART}"; exit 0' {" ".join(number.name for number in STOP_SIGNALS)}
trap 'status=$?; [ $status != 0 ] || go_on "$@"; say critical "{PRESTART} failed with status $status"' EXIT
. ./{PRESTART}
trap - EXIT
go_on "$@"
"""


def main() -> int:
    """Returns the container's exit status."""
    os.umask(0o007)
    if sys.argv[1:]:
        return run_command(sys.argv[1:])
    # the kernel ignores a signal to process 1 that it does not handle; the image has them wait until here
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    sys.stderr = PatientStream(2)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        settings = Settings.from_environment(os.environ, read_limits())
        raise_open_files()
        finish_before_others()
        prepare_run_dir(settings)
        run_prestart()
        # not before the settings are known to be good: the import takes longer than all the rest
        supervise = threading.Thread(target=importlib.import_module, args=("entrypoint.supervise",))
        supervise.start()
        prepare_nginx(settings, Path("nginx"))
        supervise.join()
    except (SettingError, NginxError) as error:
        logs.write("critical", "entrypoint", str(error))
        return 1
    except OSError as error:
        logs.write("critical", "entrypoint", explain(error, settings.run_dir))
        return 1
    export(settings)
    logs.write(
        "info",
        "entrypoint",
        f"port {settings.port}, {settings.workers} workers: {settings.workers_reason}; {settings.nginx_workers} Nginx "
        f"workers, each with {settings.nginx_connections} connections and {settings.max_waiting} requests at a time",
    )
    from .supervise import run

    return run(CONFIGURATION, Drain(settings.port, settings.run_dir, settings.drain_seconds), Watch(settings.port))


def run_command(command: list[str]) -> int:
    """Become this command instead of the server, such as a migration; returns a shell's status when that cannot be."""
    # Python ignores these, and the command would go on ignoring them
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        logs.write(
            "critical",
            "entrypoint",
            f"{command[0]!r} cannot be run: {error.strerror}. What follows the image's name is a command that runs "
            "instead of the server: a program in PATH, or its path. Options of docker run go before the image's name",
        )
        return 127 if isinstance(error, FileNotFoundError | NotADirectoryError) else 126


def raise_open_files() -> None:
    """Let every program open as many files as the container may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def finish_before_others() -> None:
    """Let no program be interrupted for another that has just got something to do: each does more in one turn.

    Nginx takes several requests or answers at a time then, and Gunicorn is not stopped in the middle of a write that
    others wait for. A sandbox may refuse that, and macOS does not know it; nothing else depends on it.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def prepare_run_dir(settings: Settings) -> None:
    """Make the run-time directory, empty but for what an earlier start of this container stored.

    Raises SettingError when it is that of a container that runs (--ipc host): one would get the other's requests.
    """
    directory = Path(settings.run_dir)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        # as long as this process lives
        fcntl.flock(os.open(directory, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingError("RUN_DIR", settings.run_dir, "a directory that no other container uses") from None
    shutil.rmtree(directory / "nginx", ignore_errors=True)
    (directory / "nginx").mkdir()
    (directory / "stopping").unlink(missing_ok=True)
    ready = directory / "ready"
    ready.unlink(missing_ok=True)
    os.mkfifo(ready, 0o600)


def explain(error: OSError, run_dir: str) -> str:
    """What is wrong, and what to do when it is the run-time directory."""
    # a failed write does not say where, and nothing but this directory is written
    if error.filename and not run_dir.startswith(str(error.filename)) and not str(error.filename).startswith(run_dir):
        return str(error)
    return (
        f"the run-time directory {run_dir} cannot be written ({error.strerror}); give the container a writable "
        "/dev/shm with some free space, or set RUN_DIR to a directory that its user may write"
    )


def run_prestart() -> None:
    """Source prestart.sh, if it is there, in a shell that then runs this program again."""
    if os.path.exists(PRESTART) and not os.environ.pop("PRESTART_DONE", None):
        os.execvp("bash", ["bash", "-c", _RUN_PRESTART, os.getcwd(), sys.executable, *sys.orig_argv[1:]])


def export(settings: Settings) -> None:
    """Hand what was decided to the programs, under the names that they read."""
    os.environ |= {
        "RUN_DIR": settings.run_dir,
        "APP_MODULE": settings.app_module,
        "PRELOAD_APP": settings.preload_app,
        "WEB_CONCURRENCY": str(settings.workers),
        "MAX_BODY_SIZE": str(settings.max_body_size),
        # as Python's logging writes it: applications hand it to setLevel(), which knows no other case
        "LOG_LEVEL": settings.log_level.upper(),
    }
    # where the root is read-only, supervisord and the application need another place for temporary files as well
    os.environ.setdefault("TMPDIR", temporary_directory(settings.run_dir))
    # by default, glibc gives threads memory of their own, and what one frees there no other can use. Python's threads
    # take turns anyway; the second place is for what runs without the interpreter
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")


if __name__ == "__main__":
    sys.exit(main())
