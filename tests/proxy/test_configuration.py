"""What the configuration is made from: the container's limits; and what happens when it cannot be."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys

import pytest

from entrypoint import settings
from entrypoint.limits import MIB, Limits
from tests import lint_nginx
from tests.running import ROOT, Stack


def connections(files: int, memory: int, monkeypatch, cpus: float = 1, **variables: str) -> int:
    monkeypatch.setattr(settings, "open_files", lambda: files)
    chosen = settings.Settings.from_environment(variables, Limits(cpus, memory))
    return chosen.nginx_connections * chosen.nginx_workers


@pytest.mark.parametrize(
    ("files", "memory", "total"),
    [(1024, 8192, 512), (20_000, 8192, 10_000), (65_535, 8192, 16_384), (65_535, 512, 6_553), (65_535, 128, 1_638)],
)
def test_connections_are_what_files_and_memory_allow(monkeypatch, files, memory, total):
    assert connections(files, memory * MIB, monkeypatch) == total


def test_no_limit_of_files_is_none(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert settings.Settings.from_environment({}, Limits(1, 8192 * MIB)).nginx_connections == 16_384


def test_memory_is_for_all_of_nginx(monkeypatch):
    assert connections(65_535, 512 * MIB, monkeypatch, cpus=4) == pytest.approx(6_553, abs=4)
    assert connections(65_535, 512 * MIB, monkeypatch, NGINX_WORKER_PROCESSES="8") == pytest.approx(6_553, abs=8)


def test_nginx_may_open_the_files(shown):
    """The rendered numbers, and what the kernel knows of the running workers."""
    rendered = (shown.run_dir / "run" / "nginx" / "nginx.conf").read_text()
    allowed = int(rendered.split("worker_connections ")[1].split(";")[0])
    workers = [process["pid"] for process in shown.processes() if "nginx: worker" in process["argv"]]
    assert len(workers) == 2
    for pid in workers:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft >= 2 * allowed


def test_a_configuration_that_is_wrong_ends_the_start(project, tmp_path):
    broken = shutil.copytree(project, tmp_path / "project")
    (broken / "nginx" / "time-limits.conf").write_text("client_header_timeout forever;\n")
    running = Stack(broken, APP_MODULE="shown:app")
    try:
        assert running.process.wait(30) == 1
        last = running.log()[-1]
        assert last["level"] == "critical"
        assert "nginx does not accept its configuration" in last["message"]
        assert "time-limits.conf:1" in last["message"]
        # before anything was started
        assert not [line for line in running.log() if "spawned" in line.get("message", "")]
    finally:
        running.remove()


def test_gixy_finds_nothing():
    done = subprocess.run([sys.executable, "-m", "tests.lint_nginx"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_gixy_is_asked(monkeypatch, tmp_path, capsys):
    """What it would say of a header from the request that names an upstream."""
    shutil.copytree(ROOT / "nginx", tmp_path / "nginx")
    proxy = tmp_path / "nginx" / "proxy.conf"
    proxy.write_text(proxy.read_text().replace("Host $host_and_port", "Host $http_host"))
    monkeypatch.setattr(lint_nginx, "ROOT", tmp_path)
    assert lint_nginx.findings({})
    assert "http_host" in capsys.readouterr().out
