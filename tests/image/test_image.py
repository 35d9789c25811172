"""The image, built and run by a Docker engine as the README says."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tests.api import http_api
from tests.running import IMAGE, ROOT, container, docker, wait_for

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def running(image):
    """With as many workers as the tests expect, whatever this machine has."""
    with container(WEB_CONCURRENCY="2", NGINX_WORKER_PROCESSES="2") as running:
        yield running


def test_the_readme_commands_work(image):
    """Word by word: the port is the README's."""
    id = subprocess.run(
        "docker run -p 8080:80 -d tinystacks/flask-crud-app:latest",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    try:
        api = http_api("http://127.0.0.1:8080")

        def ping():
            try:
                return api("GET", "/ping")
            except OSError:
                return None

        answer = wait_for(ping, 30)
        assert (answer.status, answer.body) == (200, b"pong\n")
        created = api("PUT", "/item", {"title": "my title", "content": "my content"})
        assert created.status == 201
        assert api("GET", created.headers["Location"]).json == created.json
    finally:
        docker("rm", "-f", id)


def test_a_profile_is_found_as_the_readme_says(image, tmp_path):
    (options,) = re.findall(r"a profile's files come with `(.*?)`", (ROOT / "README.md").read_text())
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    given = options.replace('"$(id -u)"', str(os.getuid())).replace("~/.aws", str(tmp_path)).split()
    nowhere = "http://127.0.0.1:1"
    with container(
        *given, AWS_PROFILE="work", TABLE_NAME="items", AWS_REGION="a-b-1", AWS_ENDPOINT_URL_DYNAMODB=nowhere
    ) as running:
        # so the profile was read
        assert "cannot be reached" in running.get("/db-item").json["detail"]


def tree(processes, pid):
    """The process tree below `pid` as nested lists of names, as an operator would draw it."""
    return sorted([name(process), tree(processes, process["pid"])] for process in processes if process["ppid"] == pid)


def name(process):
    argv = process["argv"]
    return next(word for word in ("nginx: master", "nginx: worker", "gunicorn", "entrypoint") if word in argv)


def test_the_process_tree(running):
    first = running.inspect("State.Pid")
    # it answers as soon as the first worker is there
    wait_for(
        lambda: (
            tree(running.processes(), first)
            == [
                ["gunicorn", [["gunicorn", []], ["gunicorn", []]]],
                ["nginx: master", [["nginx: worker", []], ["nginx: worker", []]]],
            ]
        )
    )


def test_no_process_is_root(running):
    users = running.exec("sh", "-c", "grep -h ^Uid /proc/[0-9]*/status").splitlines()
    assert len(users) >= 7
    assert {tuple(line.split()[1:]) for line in users} == {("10001",) * 4}


def test_the_user_has_a_name_and_a_home_that_it_cannot_write(running):
    script = (
        "import getpass, os; print(getpass.getuser(), os.path.expanduser('~'), os.access(os.environ['HOME'], os.W_OK))"
    )
    assert running.exec("python", "-c", script) == "app /app False"


def test_the_socket_is_for_user_and_group(running):
    assert running.exec("stat", "-c", "%F %a", "/dev/shm/app/gunicorn.sock") == "socket 660"


def test_it_turns_healthy(running):
    assert wait_for(lambda: running.inspect("State.Health.Status") == "healthy", 30)


def test_health_checks_are_not_logged_and_requests_are(running):
    running.get("/item?secret=1", **{"User-Agent": "someone"})
    lines = wait_for(lambda: [line for line in running.log() if line.get("user_agent") == "someone"])
    assert (lines[0]["method"], lines[0]["path"], lines[0]["status"]) == ("GET", "/item", 200)
    assert not [line for line in running.log() if line.get("path") == "/ping"]


def test_it_has_no_tools(image):
    programs = "pip pip3 gcc cc g++ make curl wget apt-get perl su mount"
    script = f"for program in {programs} sh; do command -v $program; done; true"
    assert docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", script) == "/usr/bin/sh"


def test_it_has_no_tests_and_no_pip(image):
    script = "ls -A /app /opt/venv/lib/python3*/site-packages; python -c 'import pip' 2>/dev/null && echo pip"
    listed = set(docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", script, check=False).split())
    assert {"app", "entrypoint", "gunicorn"} <= listed
    assert not {"tests", "docs", "bench", "local", "infra", ".git", "moto", "pytest", "pip", "Makefile"} & listed


def test_it_exposes_port_80_and_no_secrets(image):
    config = json.loads(docker("inspect", IMAGE))[0]["Config"]
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert config["User"] == "10001:0"
    assert {variable.split("=")[0] for variable in config["Env"]} <= {
        "PATH", "APP_MODULE", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"
    }  # fmt: skip


def test_nothing_in_it_gives_a_user_more_rights(image):
    """But for the Nginx that may bind port 80."""
    script = """
find / -xdev -perm /6000 -type f
python3 - <<'END'
import os
for directory, _, files in os.walk("/usr"):
    for file in files:
        path = f"{directory}/{file}"
        if not os.path.islink(path) and "security.capability" in os.listxattr(path):
            print(path)
END"""
    found = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", IMAGE, "-c", script)
    assert found.split() == ["/usr/local/sbin/nginx-privileged"]


def test_its_packages_are_whole(image):
    """What was removed is not missed by what stayed, and the rest is there for a scanner to read."""
    script = "dpkg --audit; dpkg-query -W -f '${Package}\\n' nginx python3 libssl3t64 bsdutils 2>/dev/null; true"
    found = docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", script)
    assert found.split() == ["bsdutils", "libssl3t64", "nginx", "python3"]


def test_it_trusts_the_servers_that_everybody_trusts(image):
    """Of a user pool's keys, for example. A base image may have the authorities; Debian's own has not."""
    script = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    assert int(docker("run", "--rm", IMAGE, "python", "-c", script)) > 100
    assert re.search(r"apt-get install[^#&]* ca-certificates ", (ROOT / "Dockerfile").read_text().split("\nFROM ")[1])


def test_its_size_is_known(image):
    """The margin is for what Debian and the libraries gain over time; a compiler or a cache is ten times that."""
    assert int(docker("inspect", "-f", "{{.Size}}", IMAGE)) < 150 * 10**6
