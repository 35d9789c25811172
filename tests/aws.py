"""AWS for tests: the local AWS as a process, and parts that misbehave on request.

    aws = start_local_aws()                 # about 2 s; a free port; nothing shared with another one
    aws.environment                         # what the application needs, for os.environ or a process' env=
    aws.token("alice")                      # an access token; any name: a user that is not there is made
    aws.new_table()                         # the name of another table, empty: TABLE_NAME for a test of its own
    aws.stop()

boto3 reads credentials from os.environ, so put all of `environment` there (monkeypatch.setenv) before the application
is made in this process.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import subprocess
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from local import token
from local.resources import client, create_table, create_user
from tests.running import ROOT, START_SECONDS, wait_for


class LocalAwsProcess:
    """A running `python -m local.aws`; see the module for its use."""

    def __init__(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="local-aws-"))
        file, log = directory / "environment", directory / "log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local.aws", "--port", "0", "--environment", str(file)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )
        atexit.register(self.stop)
        wait_for(
            lambda: file.exists() or self.process.poll() is not None,
            START_SECONDS,
            f"the local AWS is ready; its log is {log}",
        )
        if not file.exists():
            raise RuntimeError(f"the local AWS did not start: {log.read_text()}")
        self.environment = dict(line.split("=", 1) for line in file.read_text().splitlines())
        shutil.rmtree(directory)
        self.url = self.environment["AWS_ENDPOINT_URL_DYNAMODB"]
        self._tables = (f"items-{number}" for number in itertools.count(1))
        self._users = {"alice", "bob"}

    def token(self, user: str) -> str:
        """A new access token of `user`, good for an hour."""
        if user not in self._users:
            create_user(client("cognito-idp", self.url), self.environment["COGNITO_USER_POOL_ID"], user)
            self._users.add(user)
        return token.token(user, self.url)

    def new_table(self) -> str:
        name = next(self._tables)
        create_table(self.dynamodb, name)
        return name

    @cached_property
    def dynamodb(self) -> Any:
        """A boto3 client of this AWS' DynamoDB, to look at what is stored."""
        return client("dynamodb", self.url)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def start_local_aws() -> LocalAwsProcess:
    """Returns once the table, the user pool and the users are there."""
    return LocalAwsProcess()
