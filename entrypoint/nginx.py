"""Renders the files of nginx/ into the run-time directory, and has Nginx check the result."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

from .environment import SettingError
from .settings import Settings

_PLACEHOLDER = re.compile(r"\$\{([A-Z_]+)\}")
# Nginx warns of every body and answer that is too large for memory, which is nothing to worry about
_ERROR_LEVELS = {"debug": "info", "info": "error", "warning": "error", "error": "error", "critical": "crit"}
# the same program with the right to bind ports below 1024, in the image only
PRIVILEGED = "/usr/local/sbin/nginx-privileged"


class NginxError(Exception):
    """Nginx cannot start; the message says why."""


def prepare_nginx(settings: Settings, templates: Path) -> None:
    """Write ${RUN_DIR}/nginx and let `nginx -t` read it. Raises NginxError."""
    target = Path(settings.run_dir) / "nginx"
    values = nginx_values(settings)
    for template in sorted(templates.glob("*.conf")):
        (target / template.name).write_text(render(template.read_text(), values, template.name))
    (target / "mime.types").symlink_to("/etc/nginx/mime.types")
    program = choose_program(settings.port)
    (target / "nginx").symlink_to(program)
    check = subprocess.run(
        [program, "-t", "-q", "-e", "stderr", "-c", str(target / "nginx.conf")], capture_output=True, text=True
    )
    if check.returncode:
        raise NginxError(f"nginx does not accept its configuration: {check.stderr.strip()}")


def render(template: str, values: dict[str, str], name: str) -> str:
    """Replace each ${NAME} in capitals; Nginx's own variables are lower case and stay."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise NginxError(f"nginx/{name} asks for {match[0]}, which is none of {', '.join(sorted(values))}")
        return values[match[1]]

    return _PLACEHOLDER.sub(value, template)


def nginx_values(settings: Settings) -> dict[str, str]:
    """What the templates may ask for."""
    zones, rate, connections = client_limits(settings)
    return {
        "RUN_DIR": settings.run_dir,
        "TEMP_DIR": temporary_directory(settings.run_dir),
        # the container's standard output, straight from Nginx: a line an access need not pass through a second process
        "LOG": f"/proc/{os.getpid()}/fd/1",
        "ERROR_LEVEL": _ERROR_LEVELS[settings.log_level],
        "PROXY_ERROR_LEVEL": "info" if settings.log_level == "debug" else "crit",
        "LISTEN": listen(settings.port),
        "WORKERS": str(settings.nginx_workers),
        "CONNECTIONS": str(settings.nginx_connections),
        "OPEN_FILES": str(2 * settings.nginx_connections),
        "USER": "user root root;" if os.geteuid() == 0 else "",
        "MAX_BODY_SIZE": str(settings.max_body_size),
        "MAX_WAITING": str(settings.max_waiting),
        "REAL_IP_FROM": "\n".join(f"set_real_ip_from {network};" for network in settings.trusted_proxies),
        "TRUSTED_PEERS": "\n  ".join(f"{network} 1;" for network in settings.trusted_proxies),
        "CLIENT_LIMIT_ZONES": zones,
        "RATE_LIMIT": rate,
        "CONNECTION_LIMIT": connections,
        **cors(settings.cors_origins),
        "STATIC": static(settings),
        "STATIC_URL": settings.static_url,
        "STATIC_PATH": settings.static_path.rstrip("/"),
    }


def client_limits(settings: Settings) -> tuple[str, str, str]:
    """The directives for RATE_LIMIT and CONNECTIONS_PER_IP: their zones, and the use of each in a location."""
    zones, rate, connections = [], "", ""
    if settings.rate_limit:
        zones.append(f"limit_req_zone $binary_remote_addr zone=requests:10m rate={settings.rate_limit}r/s;")
        rate = f"limit_req zone=requests burst={settings.rate_limit} nodelay;"
    if settings.connections_per_ip:
        zones.append("limit_conn_zone $binary_remote_addr zone=connections:10m;")
        connections = f"limit_conn connections {settings.connections_per_ip};"
    return "\n".join(zones), rate, connections


def cors(origins: list[str]) -> dict[str, str]:
    """What tells browsers that scripts of these origins may see the error documents."""
    anybody = "*" in origins
    return {
        "CORS_DEFAULT": "*" if anybody else "",
        "CORS_ORIGINS": "" if anybody else "\n  ".join(f'"{origin}" "{origin}";' for origin in origins),
        # a cache must not give one origin the answer that another got
        "CORS_VARY": "" if anybody else "Origin",
    }


def static(settings: Settings) -> str:
    """What includes the location for the static files, when STATIC_PATH says where they are. Raises SettingError."""
    if not settings.static_path:
        return ""
    if not os.path.isdir(settings.static_path):
        raise SettingError("STATIC_PATH", settings.static_path, "a directory that is there, such as /app/static")
    return "include static.conf;"


def listen(port: int) -> str:
    """The listen directives: IPv4, and IPv6 where the kernel has it."""
    listens = [f"listen {port} default_server backlog=4096 sndbuf=128k;"]
    try:
        socket.socket(socket.AF_INET6).close()
        listens.append(f"listen [::]:{port} default_server backlog=4096 sndbuf=128k ipv6only=on;")
    except OSError:
        pass
    return "\n    ".join(listens)


def temporary_directory(run_dir: str) -> str:
    """Where Nginx keeps bodies that are too large for memory: /tmp, or the run-time directory if that is read-only."""
    return "/tmp" if os.access("/tmp", os.W_OK) else run_dir


def choose_program(port: int) -> str:
    """The Nginx that may bind `port`. Raises NginxError when none may."""
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", port))
        return which_nginx()
    except PermissionError:
        return privileged_nginx(port)
    except OSError as error:
        raise NginxError(f"port {port} cannot be bound: {error.strerror}; set PORT to another one") from error


def privileged_nginx(port: int) -> str:
    """The Nginx with the file capability to bind `port`, if the container lets it have that."""
    try:
        subprocess.run([PRIVILEGED, "-v"], capture_output=True, check=True)
        status = Path("/proc/self/status").read_text()
        if "NoNewPrivs:\t0" in status:
            return PRIVILEGED
    except (OSError, subprocess.CalledProcessError):
        pass
    raise NginxError(
        f"port {port} cannot be bound: this container may not bind ports below 1024. Set PORT=8080 (and publish that "
        "one), or allow it with --sysctl net.ipv4.ip_unprivileged_port_start=0, or give back the capability "
        "NET_BIND_SERVICE and leave out no-new-privileges"
    )


def which_nginx() -> str:
    """Nginx's path. Raises NginxError when it is not installed."""
    for directory in (*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/local/sbin"):
        path = os.path.join(directory, "nginx")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise NginxError("nginx is not installed")
