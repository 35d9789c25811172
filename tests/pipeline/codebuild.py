"""Runs a buildspec phase by phase as CodeBuild does, with the real programs on PATH."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
TIMEOUT = 300
# how the commands of a build share a shell
ONE_SHELL = "one shell for all commands, as CodeBuild's documentation says"
SHELL_EACH = "a shell for each command, as CodeBuild's agent does"

# The agent's script for a command: what reaches the next one are exported variables and the directory (it shows in
# errors of the form "/codebuild/output/tmp/script.sh: line 4", and stands in aws/codecatalyst-runner-cli).
_AGENT_SCRIPT = """cd "$(cat {state}/directory)"
set -a
. {state}/environment
{command}
CODEBUILD_LAST_EXIT=$?
export -p >{state}/environment
pwd >{state}/directory
exit $CODEBUILD_LAST_EXIT
"""

# One shell: "." rather than a list with "||", which would switch "set -e" off within the command.
_ONE_SHELL_SCRIPT = """cd "$(cat {state}/directory)"
. {state}/environment
trap 'status=$?; export -p >{state}/environment; pwd >{state}/directory; exit $status' EXIT
{commands}
"""
_ONE_SHELL_COMMAND = """export CODEBUILD_BUILD_SUCCEEDING={succeeding}
echo {phase} >{state}/phase
. {file}
status=$?
if [ $status -ne 0 ]; then exit $status; fi
"""


@dataclass(frozen=True)
class Build:
    """How a build ended: the phase that failed first, if one did, all output, and the exported variables."""

    failed_phase: str | None
    output: str
    exported: dict[str, str]

    @property
    def succeeded(self) -> bool:
        return self.failed_phase is None


def run_build(spec: Path, directory: Path, environment: Mapping[str, str], shells: str = SHELL_EACH) -> Build:
    """Run `spec` in `directory` with nothing but `environment`.

    After install or pre_build has failed nothing more runs; after build has failed, post_build does.
    """
    with tempfile.TemporaryDirectory(prefix="codebuild-") as state:
        return _Run(yaml.safe_load(spec.read_text()), Path(state), directory, dict(environment), shells).run()


class _Run:
    def __init__(self, spec: dict, state: Path, directory: Path, environment: dict[str, str], shells: str) -> None:
        assert spec["version"] == 0.2
        self.spec, self.state, self.shells = spec, state, shells
        env = spec.get("env", {})
        self.shell = env.get("shell", "sh")
        self.environment = env.get("variables", {}) | environment
        self.exported_names = env.get("exported-variables", [])
        self.output = ""
        (state / "directory").write_text(f"{directory}\n")
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in self.environment.items())
        (state / "environment").write_text("".join(lines))

    def run(self) -> Build:
        run = self._in_one_shell if self.shells == ONE_SHELL else self._in_a_shell_each
        failed = run(PHASES, succeeding=1)
        if failed == "build":
            run(("post_build",), succeeding=0)
        return Build(failed, self.output, self._exported())

    def _in_a_shell_each(self, phases: tuple[str, ...], succeeding: int) -> str | None:
        for phase in phases:
            for command in self._commands(phase):
                with (self.state / "environment").open("a") as file:
                    file.write(f"export CODEBUILD_BUILD_SUCCEEDING={succeeding}\n")
                if self._shell(_AGENT_SCRIPT.format(state=self.state, command=command)):
                    return phase
        return None

    def _in_one_shell(self, phases: tuple[str, ...], succeeding: int) -> str | None:
        commands = ""
        for phase in phases:
            for number, command in enumerate(self._commands(phase)):
                file = self.state / f"{phase}-{number}.sh"
                file.write_text(command)
                commands += _ONE_SHELL_COMMAND.format(phase=phase, file=file, state=self.state, succeeding=succeeding)
        failed = self._shell(_ONE_SHELL_SCRIPT.format(state=self.state, commands=commands))
        return (self.state / "phase").read_text().strip() if failed else None

    def _commands(self, phase: str) -> list[str]:
        return self.spec["phases"].get(phase, {}).get("commands", [])

    def _shell(self, script: str) -> int:
        file = self.state / "script.sh"
        file.write_text(script)
        done = subprocess.run(
            [self.shell, str(file)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        self.output += done.stdout
        return done.returncode

    def _exported(self) -> dict[str, str]:
        names = " ".join(self.exported_names)
        script = f'. {self.state}/environment; for name in {names}; do printf "%s\\0%s\\0" "$name" "${{!name:-}}"; done'
        done = subprocess.run(["bash", "-c", script], env={}, capture_output=True, text=True, check=True)
        words = done.stdout.split("\0")
        return {name: value for name, value in zip(words[::2], words[1::2], strict=False) if value}
