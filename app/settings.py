"""The application's settings, read from the environment once and validated."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from entrypoint.environment import Environment

_ORIGIN = r"\*|https?://[A-Za-z0-9.:\[\]-]+"


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes are in bytes. The README has a row for each variable."""

    max_body_size: int
    cors_origins: list[str]
    item_store_size: int
    item_store_directory: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Settings:
        """Raises SettingError for a value that cannot be used."""
        environment = Environment(variables)
        return cls(
            max_body_size=environment.max_body_size(),
            cors_origins=environment.words(
                "CORS_ORIGINS",
                default="*",
                pattern=_ORIGIN,
                allowed="* or a comma-separated list of origins such as https://example.com",
            ),
            item_store_size=environment.size("ITEM_STORE_SIZE", default="32m", low=1024**2, high=1024**4),
            # the container's run-time directory is on /dev/shm; without the container, every process tree has its own
            item_store_directory=variables.get("RUN_DIR") or tempfile.mkdtemp(prefix="items-"),
        )
