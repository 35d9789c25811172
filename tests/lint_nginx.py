"""Gixy over Nginx's configuration as the container renders it; `python -m tests.lint_nginx`, silent when clean."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from entrypoint.limits import MIB, Limits
from entrypoint.nginx import nginx_values, render
from entrypoint.settings import Settings
from tests.running import ROOT

# with nothing set, and with everything that adds to the files
SETTINGS: list[dict[str, str]] = [
    {},
    {
        "TRUSTED_PROXIES": "10.0.0.0/16",
        "RATE_LIMIT": "100",
        "CONNECTIONS_PER_IP": "100",
        "CORS_ORIGINS": "https://example.com",
        "STATIC_PATH": "/usr/share",
    },
]
# what is found and meant; each with its reason
SKIPPED = {
    "try_files_is_evil_too": "open_file_cache would go on with files that a deployment has replaced",
}


def main() -> int:
    """The number of configurations in which something was found."""
    return sum(findings(variables) for variables in SETTINGS)


def findings(variables: dict[str, str]) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings.from_environment(variables | {"RUN_DIR": directory}, Limits(2, 512 * MIB))
        values = nginx_values(settings)
        for template in (ROOT / "nginx").glob("*.conf"):
            (Path(directory) / template.name).write_text(render(template.read_text(), values, template.name))
        (Path(directory) / "mime.types").write_text("types { text/html html; }\n")
        program = str(Path(sys.executable).parent / "gixy")
        gixy = [program, "--skips", ",".join(SKIPPED), f"{directory}/nginx.conf"]
        done = subprocess.run(gixy, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr)
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
