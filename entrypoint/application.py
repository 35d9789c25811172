"""What is said of an application that Gunicorn could not load: what was looked for, and where."""

from __future__ import annotations

import re
from pathlib import Path

# of Gunicorn, in every version: the module is there, and what is asked of it is not
_NOT_IN_MODULE = re.compile(r"Failed to (find|parse)|Application object must be|Function reference must be")
_MODULE_MISSING = re.compile(r"No module named '([\w.]+)'")
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")
_CONTAINER_FILES = {
    "Dockerfile", "nginx", "supervisord.conf", "gunicorn.conf.py", "entrypoint", "build.yml", "release.yml",
    "__pycache__",
}  # fmt: skip
NAMES = 12


def explain(cause: str, app_module: str, directory: Path) -> str:
    """`cause`, the reason why Gunicorn ended, with what was looked for and where, if it is about the application."""
    cause = cause.rstrip(".")
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
        return f"{cause}, while APP_MODULE={app_module} was loaded from {directory}"
    return cause


def contents(directory: Path) -> str:
    """The files and folders that may be an application's, for a person to read."""
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in directory.iterdir()
        if path.name not in _CONTAINER_FILES and not path.name.startswith(".")
    )
    return ", ".join([*names[:NAMES], *(["…"] if len(names) > NAMES else [])]) or "nothing of its own"
