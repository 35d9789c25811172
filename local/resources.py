"""What the local AWS holds: the table, the user pool, its client and the users."""

from __future__ import annotations

from typing import Any

import boto3

from . import PASSWORD

# moto answers unsigned requests, as a sign-in is, for this Region only
REGION = "us-east-1"
TABLE = "items"
POOL = CLIENT = "local"
USERS = ("alice", "bob")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def client(service: str, url: str) -> Any:
    """A boto3 client of the local AWS at `url`."""
    credentials = {name.lower(): value for name, value in CREDENTIALS.items()}
    return boto3.client(service, REGION, endpoint_url=url, **credentials)


def make_resources(url: str) -> dict[str, str]:
    """Make all of it, once; return what the application needs as environment."""
    create_table(client("dynamodb", url), TABLE)
    cognito = client("cognito-idp", url)
    pool = cognito.create_user_pool(PoolName=POOL)["UserPool"]["Id"]
    app_client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName=CLIENT, ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    for user in USERS:
        create_user(cognito, pool, user)
    return {
        "TABLE_NAME": TABLE,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_DYNAMODB": url,
        "COGNITO_USER_POOL_ID": pool,
        "COGNITO_CLIENT_ID": app_client,
        "COGNITO_JWKS_URL": f"{url}/{pool}/.well-known/jwks.json",
        **CREDENTIALS,
    }


def create_table(dynamodb: Any, name: str) -> None:
    """A table with the keys that the application expects."""
    keys = {"userId": "HASH", "itemId": "RANGE"}
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        BillingMode="PAY_PER_REQUEST",
    )


def create_user(cognito: Any, pool: str, name: str) -> None:
    """A user who can sign in with PASSWORD."""
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=PASSWORD, Permanent=True)
