"""docs/differences.md says what stands in the files, and all of it."""

from __future__ import annotations

import re

import pytest
from gunicorn.config import Config

from tests.running import ROOT

DOCUMENT = (ROOT / "docs/differences.md").read_text()
# what makes up a location, or is ours from the first word to the last
STRUCTURE = {
    "access_log", "add_header", "alias", "default", "default_type", "error_page", "include", "internal", "listen",
    "proxy_hide_header", "proxy_pass", "proxy_set_header", "recursive_error_pages", "return", "try_files",
}  # fmt: skip


def rows(file: str) -> list[tuple[str, str]]:
    """What and default, of each row in the file's section."""
    section = DOCUMENT.split(f"\n## {file}\n", 1)[1].split("\n## ", 1)[0]
    return [(what, default) for what, default in re.findall(r"^\| (.*?`.*?) \| (.*?) \|", section, re.M)]


def named(file: str) -> list[str]:
    """The code in the first column."""
    return [code for what, _ in rows(file) for code in re.findall(r"`(.+?)`", what)]


def directives(file: str) -> list[str]:
    """Nginx's directives in the file, without their semicolons, in one line each."""
    text = re.sub(r"^\s*#.*$", "", (ROOT / file).read_text(), flags=re.M)
    lines = [
        " ".join(line.split()) for line in re.findall(r"^\s*([a-z_]+ [^{};]*(?:\$\{[^}]*\}[^{};]*)*);$", text, re.M)
    ]
    return [line for line in lines if line.split()[0] not in STRUCTURE]


NGINX_FILES = sorted(f"nginx/{path.name}" for path in (ROOT / "nginx").glob("*.conf"))


@pytest.mark.parametrize("file", [file for file in NGINX_FILES if directives(file)])
def test_nginx(file):
    there = directives(file)
    documented = named(file)
    assert set(documented) <= set(there)
    assert {line.split()[0] for line in there} <= {line.split()[0] for line in documented}


def test_gunicorn():
    text = (ROOT / "gunicorn.conf.py").read_text()
    settings = Config().settings
    there = {name for name in re.findall(r"^(\w+) = ", text, re.M) if name in settings}
    documented = named("gunicorn.conf.py")
    assert there == {code.split(" = ")[0] for code in documented} & set(settings)
    assert all(f"\n{code}\n" in text for code in documented if " = " in code)


def test_gunicorns_defaults():
    for what, default in rows("gunicorn.conf.py"):
        name = re.findall(r"`(\w+)", what)[0]
        actual = Config().settings[name].default
        if re.fullmatch(r"[\d.:]+|True|False|sync|[A-Z_,]+", default):
            assert default == (str(actual[0]) if isinstance(actual, list) else str(actual)), name


def test_supervisord():
    text = (ROOT / "supervisord.conf").read_text()
    lines = {line for line in text.splitlines() if " = " in line and not line.startswith((";", "command"))}
    documented = {code for code in named("supervisord.conf") if " = " in code}
    assert documented <= lines
    assert {line.split(" = ")[0] for line in lines} == {code.split(" = ")[0] for code in documented}
