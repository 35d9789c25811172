"""A real container registry on loopback that asks for a password, as ECR does."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.running import wait_for

USER = "AWS"
# what moto's ECR gives to `aws ecr get-login-password`
PASSWORD = "123456789012-auth-token"
# of PASSWORD: the registry knows bcrypt only, and Python knows no bcrypt
_BCRYPT = "$2b$04$PFl6A.7kZ28hBdB0iDzsQ.8YXAF2itZOSldmgbdUoysxO5Tx5jFTa"
_CONFIGURATION = """
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  maintenance: {{readonly: {{enabled: {read_only}}}}}
http: {{addr: "127.0.0.1:0"}}
auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}
"""
_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def install_registry() -> str:
    """The path of docker-registry, installed with apt when it is missing and this is root."""
    if not shutil.which("docker-registry") and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "docker-registry"]):
            command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
            subprocess.run(command, env=environment, capture_output=True, timeout=300)
    path = shutil.which("docker-registry")
    assert path, "docker-registry is missing: apt-get install docker-registry"
    return path


class Registry:
    """`endpoint` is host:port. A read-only one serves what `of` stores and takes nothing."""

    def __init__(self, of: Registry | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="registry-"))
        storage = of.directory if of else self.directory
        (self.directory / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
        (self.directory / "config.yml").write_text(
            _CONFIGURATION.format(
                directory=self.directory, storage=storage / "storage", read_only=str(of is not None).lower()
            )
        )
        log = self.directory / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [install_registry(), "serve", str(self.directory / "config.yml")], stdout=file, stderr=file
            )
        address = wait_for(lambda: re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text()), 10, "the registry")
        self.endpoint = address[1]

    def digest(self, repository: str, tag: str) -> str | None:
        """The digest of the manifest that a tag names, or None."""
        request = urllib.request.Request(
            f"http://{self.endpoint}/v2/{repository}/manifests/{tag}", method="HEAD", headers={"Accept": _MANIFESTS}
        )
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.headers["Docker-Content-Digest"]
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)
