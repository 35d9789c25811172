"""Arguments to the image: a command that runs instead of the server, such as a migration."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.running import IMAGE

pytestmark = pytest.mark.docker


def run(*arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    # a server that was started after all gets the signal as well, and goes
    command = ["timeout", "15", "docker", "run", "--rm", *options, IMAGE, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_command_of_the_application_runs_instead_of_the_server(image):
    done = run("flask", "--app", "app.wsgi", "routes")
    assert done.returncode == 0, done
    assert "/ping" in done.stdout
    assert done.stderr == ""


def test_it_finds_what_the_server_finds(image):
    """Its directory, its user and umask, its Python, its variables; and it is process 1 itself."""
    done = run(
        "sh", "-c", "pwd; id -u; umask; command -v python; echo $COLOR $APP_MODULE $$", options=("-e", "COLOR=red")
    )
    assert done.stdout.split("\n") == ["/app", "10001", "0007", "/opt/venv/bin/python", "red app.wsgi:app 1", ""]


def test_its_words_and_its_status_are_its_own(image):
    done = run("sh", "-c", 'printf "%s\n" "$@"; exit 3', "sh", "a b", "", "-x")
    assert (done.returncode, done.stdout) == (3, "a b\n\n-x\n")


def test_it_dies_of_a_broken_pipe_as_anywhere(image):
    """Python ignores that signal, and what it starts would inherit it."""
    assert run("sh", "-c", "yes | head -1").stderr == ""


def test_no_signal_is_kept_from_it(image):
    assert run("grep", "SigBlk", "/proc/self/status").stdout.split() == ["SigBlk:", "0" * 16]


def test_prestart_is_for_the_server(image, tmp_path):
    file = tmp_path / "prestart.sh"
    file.write_text("echo prestart\nfalse\n")
    file.chmod(0o644)
    done = run("echo", "command", options=("-v", f"{file}:/app/prestart.sh:ro"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "command\n", "")


@pytest.mark.parametrize(
    ("word", "status", "reason"),
    [
        ("flsk", 127, "No such file or directory"),
        ("/app/nothing", 127, "No such file or directory"),
        ("/app/requirements.txt", 126, "Permission denied"),
        # of docker run, in the wrong place
        ("-p", 127, "No such file or directory"),
    ],
)
def test_one_that_cannot_be_run_is_named_in_one_line(image, word, status, reason):
    done = run(word, "8080:80")
    assert (done.returncode, done.stdout) == (status, "")
    line = json.loads(done.stderr)
    assert (line["level"], line["logger"]) == ("critical", "entrypoint")
    assert line["message"].startswith(f"{word!r} cannot be run: {reason}. ")
    assert "a command that runs instead of the server" in line["message"]
