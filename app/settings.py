"""The application's settings, read from the environment once and validated."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from entrypoint.environment import Environment

_URL = r"https?://[A-Za-z0-9._:\[\]-]+(/[\x21-\x7e]*)?"
_TABLE = r"(arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]{12}:table/)?[A-Za-z0-9_.-]{3,255}"
_POOL = r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}_[A-Za-z0-9]{1,45}"
_URL_ALLOWED = "an address such as https://host/path"


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes are in bytes. The README has a row for each variable."""

    max_body_size: int
    cors_origins: list[str]
    item_store_size: int
    item_store_directory: str
    table_name: str
    aws_region: str
    dynamodb_endpoint: str
    cognito_user_pool_id: str
    cognito_client_ids: list[str]
    cognito_keys_url: str
    cognito_scope: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Settings:
        """Raises SettingError for a value that cannot be used."""
        environment = Environment(variables)
        return cls(
            max_body_size=environment.max_body_size(),
            cors_origins=environment.cors_origins(),
            item_store_size=environment.size("ITEM_STORE_SIZE", default="32m", low=1024**2, high=1024**4),
            # the container's run-time directory is on /dev/shm; without the container, every process tree has its own
            item_store_directory=variables.get("RUN_DIR") or tempfile.mkdtemp(prefix="items-"),
            table_name=environment.text(
                "TABLE_NAME",
                pattern=_TABLE,
                allowed="the name of a DynamoDB table (3 to 255 letters, digits, _ . -), or its ARN without an index",
            ),
            # boto3 itself reads only the second
            aws_region=environment.text(
                "AWS_REGION", "AWS_DEFAULT_REGION", pattern=r"[a-z0-9-]{2,32}", allowed="a Region such as eu-west-1"
            ),
            dynamodb_endpoint=environment.text("AWS_ENDPOINT_URL_DYNAMODB", pattern=_URL, allowed=_URL_ALLOWED),
            cognito_user_pool_id=environment.text(
                "COGNITO_USER_POOL_ID", pattern=_POOL, allowed="the id of a user pool such as eu-west-1_AbCdEfGhI"
            ),
            cognito_client_ids=environment.words(
                "COGNITO_CLIENT_ID",
                default="",
                pattern=r"[A-Za-z0-9_+]{1,128}",
                allowed="a comma-separated list of client ids",
            ),
            cognito_keys_url=environment.text("COGNITO_JWKS_URL", pattern=_URL, allowed=_URL_ALLOWED),
            cognito_scope=environment.text(
                "COGNITO_SCOPE", pattern=r"[\x21\x23-\x5b\x5d-\x7e]+", allowed="one scope such as items/write"
            ),
        )
