"""AWS on this machine for development and tests: DynamoDB and Cognito by moto. Never part of the production image."""

import os

PORT = int(os.environ.get("LOCAL_AWS_PORT") or 8081)
PASSWORD = "Local-password-1"
# answers 200 with the application's environment once everything is there, 503 before
ENVIRONMENT_PATH = "/local/environment"
