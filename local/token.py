"""Prints an access token for a user of the local AWS: `python -m local.token alice`. Needs nothing but Python."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

from . import ENVIRONMENT_PATH, PASSWORD, PORT

URL = os.environ.get("LOCAL_AWS_URL") or f"http://127.0.0.1:{PORT}"


def main() -> int:
    """Returns the exit status; why there is no token goes to standard error."""
    if len(sys.argv) != 2:
        print("usage: python -m local.token USER, where USER is alice or bob", file=sys.stderr)
        return 2
    try:
        print(token(sys.argv[1]))
    except urllib.error.HTTPError as error:
        print(f"{URL} gives {sys.argv[1]} no token: {error.read().decode(errors='replace')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"the local AWS does not answer at {URL} ({error}); start it with `make run`, or set LOCAL_AWS_URL",
            file=sys.stderr,
        )
        return 1
    return 0


def token(user: str, url: str = URL) -> str:
    """Sign in with Cognito's own API, which needs no AWS credentials. Raises OSError."""
    with urllib.request.urlopen(url + ENVIRONMENT_PATH, timeout=10) as response:
        environment = dict(line.split("=", 1) for line in response.read().decode().splitlines())
    request = urllib.request.Request(
        url,
        json.dumps(
            {
                "ClientId": environment["COGNITO_CLIENT_ID"],
                "AuthFlow": "USER_PASSWORD_AUTH",
                "AuthParameters": {"USERNAME": user, "PASSWORD": PASSWORD},
            }
        ).encode(),
        {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["AuthenticationResult"]["AccessToken"])


if __name__ == "__main__":
    sys.exit(main())
