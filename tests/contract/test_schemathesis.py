"""The running service keeps to its OpenAPI description, whatever schemathesis sends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.running import stack

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def test_schemathesis_finds_nothing(aws, tmp_path):
    users = [
        {"name": user, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {aws.token(user)}"}]}
        for user in ("alice", "bob")
    ]
    (tmp_path / "users.json").write_text(json.dumps({"auth": users}))
    shutil.copy(CONFIGURATION, tmp_path)
    with stack(**aws.environment) as service:
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run", f"{service.base}/openapi.json"),
                *("--checks", "all", "--continue-on-failure", "--max-examples", "30", "--seed", "1"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        selected, known = map(int, re.search(r"Selected: (\d+)/(\d+)", done.stdout).groups())
        assert selected == known > 24
        # what it sends is never a reason to log an error
        assert [line for line in service.log() if line["level"] in ("error", "critical")] == []
